"""axe finds nothing on the pages that are written as files."""

import shutil
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from frostline.data.dataset import Splits
from frostline.report.comparison import compare, write_page
from frostline.report.page import page, write_report
from frostline.runs.folder import Run
from tests.report.test_page import many_classes
from tests.studies.audit.pages import audit_page


@pytest.fixture(scope="module")
def pages(odd: Run, fashion: Splits, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pages")
    found = [write_report(odd, folder / "odd.html")]
    for classes in (2, 15, 60, 400):
        found.append(folder / f"{classes}.html")
        found[-1].write_text(page(many_classes(classes, 10 * classes)), encoding="utf-8")
    found.append(folder / "compare.html")
    write_page(compare([odd, Run(shutil.copytree(odd.folder, folder / "again"))]), found[-1])
    found += [audit_page(fashion, classes, folder / f"audit-{classes}.html") for classes in (2, 15, 60)]
    found.append(
        audit_page(fashion, 15, folder / "audit-weak.html", "the heads cannot judge these labels: try --model X")
    )
    return found


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_axe_finds_nothing_and_nothing_is_cut_off(browser: Browser, pages: list[Path], width: int, scheme: str) -> None:
    for path in pages:
        window = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        window.goto(path.as_uri())
        assert Axe().run(window).generate_snapshot() == "", path.name
        assert window.evaluate("document.documentElement.scrollWidth") <= width
        for table in window.locator("table").all():
            assert table.evaluate("table => table.scrollWidth <= table.parentElement.clientWidth"), path.name
        window.close()


def test_numbers_of_the_matrix_change_to_percent(browser: Browser, pages: list[Path]) -> None:
    window = browser.new_page()
    window.goto(pages[1].as_uri())
    cell = window.locator(".matrix td.hit").first
    shown = "cell => [getComputedStyle(cell).fontSize !== '0px', getComputedStyle(cell, '::after').content]"
    assert cell.evaluate(shown) == [True, "none"]
    window.check("#percent")
    assert cell.evaluate(shown) == [False, f'"{cell.get_attribute("data-percent")}"']
    window.close()
