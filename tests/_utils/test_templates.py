"""HTML templates: the content policy and escaping."""

from pathlib import Path

import pytest
from markupsafe import Markup

import frostline
from frostline._utils.text import CONTENT_POLICY, templates

PAGES = sorted(Path(frostline.__file__).parent.rglob("templates/*.html"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_page_starts_with_the_policy(path: Path) -> None:
    head = path.read_text(encoding="utf-8").partition("<head>")[2]
    first = [line for line in head.splitlines() if line][:2]
    assert first == [
        '<meta charset="utf-8">',
        '<meta http-equiv="Content-Security-Policy" content="{{ content_policy }}">',
    ]


def test_the_policy_blocks_all_requests() -> None:
    assert len(PAGES) >= 3
    assert CONTENT_POLICY.startswith("default-src 'none';")
    assert "script" not in CONTENT_POLICY and "http" not in CONTENT_POLICY
    shown = templates("frostline.report").from_string('<meta content="{{ content_policy }}">').render()
    assert Markup(shown).unescape() == f'<meta content="{CONTENT_POLICY}">'


def test_text_and_control_characters_are_escaped() -> None:
    page = templates("frostline.report").from_string('<p title="{{ name }}">{{ name }}</p>{{ number }}{{ ours }}')
    name = "</script><b \x1b[31m\u202e \"'"
    shown = page.render(name=name, number=1.5, ours=Markup("<i>\x1b</i>"))
    text = "&lt;/script&gt;&lt;b \\x1b[31m\\u202e &#34;&#39;"
    assert shown == f'<p title="{text}">{text}</p>1.5<i>\x1b</i>'
    assert templates("frostline.report").from_string("{{ x }}").render(x="a\nb") == "a\nb"
