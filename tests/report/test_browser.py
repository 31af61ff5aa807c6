"""The report in a real browser: no error, no request, nothing wider than the window."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from frostline.report.page import page, write_report
from frostline.runs.folder import Run
from tests.report.test_page import many_classes


@pytest.fixture(scope="module")
def pages(odd: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pages")
    many = folder / "many.html"
    many.write_text(page(many_classes()), encoding="utf-8")
    return [write_report(odd, folder / "odd.html"), many]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_quiet_and_fits(browser: Browser, pages: list[Path], width: int, scheme: str) -> None:
    for path in pages:
        said: list[str] = []
        asked: list[str] = []
        window = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        window.on("console", lambda message, said=said: said.append(message.text))
        window.on("pageerror", lambda error, said=said: said.append(str(error)))
        window.on("request", lambda request, asked=asked: asked.append(request.url))
        window.goto(path.as_uri())
        assert window.evaluate("document.documentElement.scrollWidth") <= width
        assert said == []
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
        assert window.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        window.close()


def test_a_checkbox_shows_the_saliency_maps(browser: Browser, pages: list[Path]) -> None:
    window = browser.new_page(reduced_motion="reduce")
    window.goto(pages[0].as_uri())
    maps = window.locator("#mistakes .saliency")
    assert maps.count() == window.locator("#mistakes .shot").count() > 0
    opacity = "image => getComputedStyle(image).opacity"
    assert maps.first.evaluate(opacity) == "0"
    window.check("#saliency")
    window.wait_for_timeout(300)
    assert maps.first.evaluate(opacity) == "1"
    window.close()
