"""The page: self-contained, with escaped names."""

import base64
import hashlib
import html
import re

from tests.studies.audit.conftest import Planted


def test_the_page_is_self_contained(planted: Planted):
    page = (planted.folder / "audit.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) > 20
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "http://" not in page and "https://" not in page


def test_the_policy_allows_the_one_script_and_nothing_else(planted: Planted):
    page = (planted.folder / "audit.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html.unescape(policy)
    assert html.unescape(policy).startswith("default-src 'none'; img-src data:;")


def test_names_are_shown_as_text(planted: Planted):
    page = (planted.folder / "audit.html").read_text()
    assert "<b>Sandal" not in page and "<i>faulty" not in page
    assert "Audit of &lt;i&gt;faulty&lt;/i&gt;" in page


def test_counts_are_those_of_the_findings(planted: Planted):
    page = (planted.folder / "audit.html").read_text()
    for kind, count in planted.found.facts["findings"].items():
        assert f'<a href="#{kind}"><b>{count}</b>' in page
