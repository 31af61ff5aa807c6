"""The terms of a report: explained once in code, shown by a button, and listed on the documentation's page."""

import pytest

from frostline.report.contents import gather
from frostline.report.glossary import GLOSSARY, Terms, term_id
from frostline.report.page import page
from frostline.runs.folder import Run
from tests.report.test_page import Page
from tools.docs_pages import glossary_page


def test_every_explanation_is_plain_and_in_order() -> None:
    assert list(GLOSSARY) == sorted(GLOSSARY, key=str.casefold)
    for term, explanation in GLOSSARY.items():
        assert explanation[0].isupper() or explanation[0].isdigit(), term
        assert explanation.endswith("."), term
        assert len(explanation) < 250, term


def test_a_term_is_a_button_that_opens_its_explanation() -> None:
    term = Terms()
    assert term("macro F1", "F1, mean") == (
        '<button type="button" class="term" popovertarget="term-macro-f1" '
        f'title="{GLOSSARY["macro F1"]}">F1, mean</button>'
    )
    assert term.used == {"term-macro-f1": GLOSSARY["macro F1"]}
    with pytest.raises(KeyError):
        term("micro F1")


def test_every_button_of_a_report_has_its_explanation_on_the_page(odd: Run) -> None:
    tags = Page(page(gather(odd))).tags
    opened = [attributes["popovertarget"] for tag, attributes in tags if tag == "button"]
    popovers = [attributes["id"] for tag, attributes in tags if "popover" in attributes]
    assert set(opened) == set(popovers) and len(popovers) == len(set(popovers))
    expected = ("accuracy", "macro F1", "calibration", "confusion matrix", "balanced accuracy", "test split", "head",
                "validation split", "frozen", "calibration error")  # fmt: skip
    assert {term_id(term) for term in expected} <= set(opened)


def test_the_documentation_lists_every_term() -> None:
    text = glossary_page()
    for term, explanation in GLOSSARY.items():
        assert f"## {term}\n\n{explanation}\n" in text
