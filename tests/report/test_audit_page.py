"""The page of an audit in a real browser: verdicts, their keys, and the table that it saves."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from frostline.data.registry import load_dataset
from frostline.studies.audit.corrections import write_corrected
from tests.studies.audit.conftest import NAMES, Planted, planted  # noqa: F401 - a fixture


@pytest.fixture
def window(browser: Browser, planted: Planted) -> Iterator[Page]:  # noqa: F811
    said: list[str] = []
    page = browser.new_page(reduced_motion="reduce")
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((planted.folder / "audit.html").as_uri())
    page.evaluate("localStorage.clear()")
    page.reload()
    yield page
    page.close()
    assert said == []


def counts(window: Page) -> str:
    return window.locator("#counts").inner_text()


def saved(window: Page, path: Path) -> list[dict[str, str]]:
    with window.expect_download() as download:
        window.click("#save")
    assert download.value.suggested_filename == "corrections.csv"
    download.value.save_as(path)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_accepted_labels_are_saved_and_applied(window: Page, planted: Planted, tmp_path: Path) -> None:  # noqa: F811
    total = window.locator("#suspects > li").count()
    assert total > 10 and window.locator("#save").is_disabled()
    for number, verdict in ((0, "Accept"), (1, "Reject"), (3, "Accept"), (4, "Accept"), (4, "Accept")):
        window.locator("#suspects > li").nth(number).get_by_role("button", name=verdict).click()
    assert counts(window) == f"2 accepted, 1 rejected, {total - 3} open"
    lines = saved(window, tmp_path / "corrections.csv")
    with (planted.folder / "audit.csv").open(newline="") as file:
        table = [line for line in csv.DictReader(file) if line["finding"] == "label"]
    assert lines == [table[0], table[1] | {"new_label": ""}, table[3]]

    made = load_dataset(str(write_corrected(planted.splits, tmp_path / "corrections.csv", None)))
    labels = planted.splits.train.labels.copy()
    for line in (table[0], table[3]):
        labels[int(line["number"])] = NAMES.index(line["new_label"])
    assert np.array_equal(made.train.labels, labels)


def test_keys_decide_and_move_on(window: Page) -> None:
    cards = window.locator("#suspects > li")
    cards.nth(0).get_by_role("button", name="Accept").focus()
    for key in ("a", "r", "ArrowRight", "a", "Control+a"):
        window.keyboard.press(key)
    assert [cards.nth(n).get_attribute("data-verdict") for n in range(5)] == [
        "accepted",
        "rejected",
        "",
        "accepted",
        "",
    ]
    assert cards.nth(4).evaluate("card => card.contains(document.activeElement)")
    assert cards.nth(1).get_by_role("button", name="Reject").get_attribute("aria-pressed") == "true"


def test_verdicts_survive_a_reload(window: Page) -> None:
    window.locator("#suspects > li").nth(2).get_by_role("button", name="Reject").click()
    before = counts(window)
    window.reload()
    assert counts(window) == before and before.startswith("0 accepted, 1 rejected")


def test_nearest_images_of_both_classes_stand_beside_a_suspect(window: Page) -> None:
    card = window.locator("#suspects > li").first
    label, suggested = (card.locator(".row span:first-child").nth(n).inner_text() for n in range(2))
    assert card.locator(".nearest b").all_inner_texts() == [suggested, label]
    alts = [image.get_attribute("alt") for image in card.locator(".nearest img").all()]
    assert len(alts) == 8 and all(alt.startswith("train ") for alt in alts)
    assert [alt.split(", labeled ")[1] for alt in alts] == [suggested] * 4 + [label] * 4
