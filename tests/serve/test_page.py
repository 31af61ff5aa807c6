"""The web page in a real browser."""

import base64
import csv
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from frostline.runs.folder import Run
from tests.conftest import Frostline
from tests.serve.running import Running, png

CHROMIUM = "/usr/bin/chromium"
Files = list[tuple[str, bytes]]

DROP = """([name, text]) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, { type: "image/png" }));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""

FOLDERS = """async () => {
    const { readEntries } = await import("/files.js");
    const file = (name) => ({ isFile: true, file: (resolve) => resolve(new File(["x"], name)) });
    const folder = (...portions) => ({
        isFile: false, createReader: () => ({ readEntries: (resolve) => resolve(portions.shift() ?? []) }),
    });
    const dropped = [folder([file("a.PNG"), file("notes.txt")], [folder([file("b.jpeg")])]), new File(["x"], "c.txt")];
    return (await readEntries(dropped, ["PNG", "JPEG"])).map((one) => one.name);
}"""

REFUSE = """() => {
    navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("", "NotAllowedError"); };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *fake])
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, server: Running) -> Iterator[Page]:
    """The open page; it must send requests to the server only, and violate no content security policy."""
    page = browser.new_page()
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
    page.goto(server.address)
    expect(page.locator("#model")).to_have_text("first · 10 classes")
    yield page
    page.close()
    assert faults == [] and all(url.startswith((server.address, "blob:", "data:")) for url in asked)


def upload(page: Page, files: Files) -> None:
    page.set_input_files("#files", [{"name": n, "mimeType": "image/png", "buffer": data} for n, data in files])


def test_dropped_image_shows_bars_overlay_and_neighbors(page: Page, server: Running, garments: Files) -> None:
    name, data = garments[0]
    page.evaluate(DROP, [name, base64.b64encode(data).decode()])
    best = server.predict([garments[0]]).json()["results"][0]["predictions"]
    expect(page.get_by_role("heading", level=2).first).to_have_text(best[0]["class"])
    bars = page.locator("#bars li")
    expect(bars).to_have_count(5)
    for number, one in enumerate(best):
        expect(bars.nth(number)).to_contain_text(one["class"])
        expect(bars.nth(number)).to_contain_text(f"{100 * one['probability']:.1f} %")
    overlay = page.locator("#overlay")
    expect(overlay).to_have_css("opacity", "0")
    page.get_by_role("button", name="Show heat map").focus()
    expect(overlay).to_have_css("opacity", "1")
    assert overlay.evaluate("image => image.complete && image.naturalWidth") == 64
    expect(page.locator("#near img")).to_have_count(6)


def test_table_of_twenty_equals_predict(
    page: Page, run: Run, garments: Files, frostline: Frostline, tmp_path: Path
) -> None:
    upload(page, garments)
    expect(page.get_by_role("status")).to_have_text("20 images done")
    expect(page.locator("tbody tr")).to_have_count(20)
    got = download_csv(page)
    for name, data in garments:
        (tmp_path / name).write_bytes(data)
    output = frostline("predict", run.folder, *[name for name, _ in garments], "--format", "csv").stdout
    expected = list(csv.reader(io.StringIO(output)))
    assert [row[:3] for row in got] == [row[:3] for row in expected]
    figures = [np.array([float(row[3]) for row in rows[1:]]) for rows in (got, expected)]
    np.testing.assert_allclose(*figures, atol=1e-5)  # batches of another size, six digits


def test_table_is_sorted_and_walked_by_keyboard(page: Page, garments: Files) -> None:
    upload(page, garments[:6])
    expect(page.get_by_role("status")).to_have_text("6 images done")
    page.get_by_role("button", name="Probability").focus()
    page.keyboard.press("Enter")
    expect(page.locator("th.number")).to_have_attribute("aria-sort", "descending")
    shown = [float(text.split()[0]) for text in page.locator("td.number").all_inner_texts()]
    assert shown == sorted(shown, reverse=True)
    last = page.locator("tbody tr").last.get_by_role("button")
    last.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#name")).to_have_text(last.inner_text())
    expect(page.locator("tbody tr").last).to_have_attribute("aria-current", "true")


def test_wrong_and_too_large_files_are_named_and_the_others_classified(
    page: Page, garments: Files, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "boot.png").write_bytes(garments[0][1])
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(33 << 20)
    page.set_input_files("#files", [tmp_path / name for name in ("notes.txt", "empty.png", "huge.png", "boot.png")])
    expect(page.get_by_role("status")).to_have_text("4 images done, 3 failed")
    rows = page.locator("tbody tr")
    expect(rows.nth(0)).to_contain_text("notes.txt")
    expect(rows.nth(0)).to_contain_text("is not a readable image: expected one of PNG")
    expect(rows.nth(1)).to_contain_text("empty")
    expect(rows.nth(2)).to_contain_text("too large: 33.0 MiB, at most 32.0 MiB are allowed")
    expect(page.locator("#name")).to_have_text("boot.png")
    lines = download_csv(page)
    assert [(line[0], bool(line[2]), bool(line[4])) for line in lines[1:5]] == [
        ("notes.txt", False, True), ("empty.png", False, True), ("huge.png", False, True), ("boot.png", True, False)
    ]  # fmt: skip


def download_csv(page: Page) -> list[list[str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    return list(csv.reader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))


def test_names_are_shown_as_text_and_never_evaluated_by_a_spreadsheet(page: Page, garments: Files) -> None:
    names = ["=1+1.png", "@SUM(A1).png", "-2.png", "<img src=x onerror=alert(1)>.png", 'a,"b".png', "\u202egnp.png"]
    upload(page, [(name, garments[0][1]) for name in names])
    expect(page.get_by_role("status")).to_have_text("6 images done")
    shown = page.locator("tbody tr button").all_inner_texts()
    assert shown == [*names[:5], "\\u202egnp.png"]
    files = list(dict.fromkeys(line[0] for line in download_csv(page)[1:]))
    assert files == ["'=1+1.png", "'@SUM(A1).png", "'-2.png", *names[3:5], "\\u202egnp.png"]


def test_answer_below_the_threshold_is_shown_as_not_sure(browser: Browser, run: Run, garments: Files) -> None:
    running = Running(run.folder, reject=0.5)
    page = browser.new_page()
    try:
        results = running.predict(garments).json()["results"]
        names = [one["name"] for one in results if one["rejected"]]
        assert 0 < len(names) < len(garments)
        page.goto(running.address)
        expect(page.locator("#model")).to_have_text("first · 10 classes")
        upload(page, garments)
        expect(page.get_by_role("status")).to_have_text("20 images done")
        unsure = page.locator("tbody tr", has_text="not sure (")
        assert [row.get_by_role("button").inner_text() for row in unsure.all()] == names
        unsure.first.click()
        expect(page.locator("#answer")).to_contain_text("Not sure (")
        lines = download_csv(page)
        assert lines[0][-1] == "rejected"
        assert list(dict.fromkeys(line[0] for line in lines if line[-1] == "true")) == names
    finally:
        page.close()
        running.close()


def test_camera_captures_an_image(page: Page) -> None:
    page.get_by_role("button", name="Use the camera").click()
    for _ in range(100):  # the page's policy forbids what playwright waits with
        if page.locator("video").evaluate("video => video.videoWidth"):
            break
        page.wait_for_timeout(100)
    page.get_by_role("button", name="Capture image").click()
    expect(page.locator("#name")).to_have_text("camera 1.png")
    expect(page.get_by_role("status")).to_have_text("1 image done")


def test_denied_camera_is_reported(page: Page) -> None:
    page.evaluate(REFUSE)
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("alert")).to_contain_text("Camera access was denied.")


def test_unreachable_server_is_reported_and_tried_again(browser: Browser, run: Run, garments: Files) -> None:
    running = Running(run.folder)
    page = browser.new_page()
    try:
        page.goto(running.address)
        expect(page.locator("#model")).to_have_text("first · 10 classes")
        page.context.set_offline(True)
        upload(page, garments[:2])
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer. Is it still running?")
        page.context.set_offline(False)
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("status")).to_have_text("2 images done")
        expect(page.locator("#errors")).to_be_hidden()
        os.kill(running.process.pid or 0, signal.SIGKILL)
        running.process.join()
        upload(page, garments[2:3])
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer. Is it still running?")
    finally:
        page.close()
        running.close()


def test_page_asks_for_the_key_and_keeps_it_for_the_tab(browser: Browser, run: Run, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a-key-that-is-long-enough\n")
    running = Running(run.folder, keys=tmp_path / "keys")
    page = browser.new_page()
    try:
        page.goto(running.address)
        for key, next_words in (("wrong", "This key is not valid."), ("a-key-that-is-long-enough", "")):
            page.get_by_label("API key").fill(key)
            page.keyboard.press("Enter")
            if next_words:
                expect(page.locator("#ask-why")).to_contain_text(next_words)
        expect(page.locator("#model")).to_have_text("first · 10 classes")
        assert page.evaluate("sessionStorage.getItem('frostline-key')") == "a-key-that-is-long-enough"
        upload(page, [("dark.png", png(np.zeros((28, 28), np.uint8)))])
        expect(page.get_by_role("status")).to_have_text("1 image done")
    finally:
        page.close()
        running.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(page: Page, garments: Files, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    upload(page, [(f"{'long-name-' * 12}{name}", data) for name, data in garments[:3]])
    expect(page.get_by_role("status")).to_have_text("3 images done")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def hold_first_request(page: Page) -> list[Route]:
    """Let all requests for answers pass but the next one, the first in the list."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)
        if len(held) > 1:
            route.continue_()

    page.route("**/v1/predict?top=5*", hold)
    return held


def test_late_answer_never_replaces_a_newer_one(page: Page, garments: Files) -> None:
    held = hold_first_request(page)
    upload(page, garments[:1])
    upload(page, garments[1:2])
    expect(page.locator("#name")).to_have_text(garments[1][0])
    held[0].continue_()
    expect(page.get_by_role("status")).to_have_text("2 images done")
    expect(page.locator("#name")).to_have_text(garments[1][0])


def test_newest_answer_is_shown_and_cleared_images_do_not_come_back(page: Page, garments: Files) -> None:
    upload(page, garments[:2])
    expect(page.get_by_role("status")).to_have_text("2 images done")
    expect(page.locator("#name")).to_have_text(garments[1][0])
    page.locator("tbody tr").first.click()
    expect(page.locator("#name")).to_have_text(garments[0][0])
    held = hold_first_request(page)
    upload(page, garments[2:3])
    expect(page.get_by_role("status")).to_have_text("2 of 3 images done")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#detail")).to_be_hidden()
    held[0].continue_()
    upload(page, garments[3:4])
    expect(page.get_by_role("status")).to_have_text("1 image done")
    expect(page.locator("#name")).to_have_text(garments[3][0])
    expect(page.locator("#batch")).to_be_hidden()


def test_images_of_a_folder_are_classified_and_other_files_left_out(
    page: Page, garments: Files, tmp_path: Path
) -> None:
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    for place, (name, data) in zip(("photos", "photos/inner"), garments[:2], strict=True):
        (tmp_path / place / name).write_bytes(data)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    page.set_input_files("#folder", tmp_path / "photos")
    expect(page.get_by_role("status")).to_have_text("2 images done")
    assert sorted(page.evaluate(FOLDERS)) == ["a.PNG", "b.jpeg", "c.txt"]  # a file that was dropped itself is named


def test_camera_classifies_live_until_it_is_closed(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/v1/predict" in request.url else None)
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("button", name="Classify live")).to_have_attribute("aria-pressed", "false")
    page.wait_for_timeout(500)
    assert asked == []  # not before the click
    page.get_by_role("button", name="Classify live").click()
    expect(page.locator("#live-answer")).to_contain_text(" %")
    page.get_by_role("button", name="Close").click()
    page.wait_for_timeout(500)
    count = len(asked)
    page.wait_for_timeout(1000)
    assert len(asked) == count > 0


def test_classes_accuracy_and_examples_of_the_model_are_shown(page: Page, run: Run) -> None:
    page.get_by_text("About this model").click()
    test = run.metrics["test"]
    expect(page.locator("#accuracy")).to_contain_text(f"Accuracy {100 * test['accuracy']:.1f} % on 40 test images")
    expect(page.locator("#unsure-at")).to_contain_text("95 % of the validation images")
    expect(page.locator("#classes li")).to_have_count(10)
    expect(page.locator("#classes img")).to_have_count(30)
    assert page.locator("#classes li p").all_inner_texts() == list(test["per_class"])


def test_interface_is_described_on_a_page_without_scripts(page: Page, server: Running) -> None:
    page.goto(f"{server.address}docs")
    for path in ("/v1/predict", "/v1/model", "/v1/examples", "/healthz"):
        expect(page.get_by_role("heading", name=path)).to_be_visible()
    expect(page.locator("pre").first).to_contain_text(f"'{server.address}v1/predict?top=3'")
    expect(page.locator("table").first).to_contain_text("1 to 1000, default 5")
    assert page.locator("script").count() == 0


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_axe_finds_nothing(page: Page, server: Running, garments: Files, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    assert Axe().run(page).generate_snapshot() == ""
    upload(page, [*garments[:3], ("notes.png", b"no image")])
    expect(page.get_by_role("status")).to_have_text("4 images done, 1 failed")
    page.get_by_text("About this model").click()
    expect(page.locator("#classes img")).to_have_count(30)
    assert Axe().run(page).generate_snapshot() == ""
    page.goto(f"{server.address}docs")
    assert Axe().run(page).generate_snapshot() == ""
    assert page.evaluate("document.documentElement.scrollWidth") == width
