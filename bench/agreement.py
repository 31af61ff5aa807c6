"""Do evaluation, prediction, ONNX export, server and web page agree on the same test images?

    python -m bench agreement [--run runs/NAME] [--images 1000] [--limit 6000]

Without a run, one is trained on `--limit` images of Fashion-MNIST. The images are PNG files. The web page is opened in
Debian's chromium, gets all files at once and returns its table as CSV. Prints how many classes each way has in common
with `predict`, and the largest difference between probabilities. Asserts that every class is the same and that no
probability differs by more than 1e-4.

About 3 minutes on 2 cores.
"""

import asyncio
import csv
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.common.options import start
from bench.common.runs import fit_in
from bench.common.serving import KEY, Client, Server, png, probabilities, request
from bench.common.tables import Table
from frostline import Classifier, TrainConfig
from frostline.data.registry import load_dataset
from frostline.exporters.exportable_model import export_program, export_record
from frostline.exporters.formats import to_onnx
from frostline.inference.onnx import OnnxClassifier
from frostline.pipeline.resolve import split
from frostline.runs.bundle import load_bundle
from frostline.runs.evidence import read_evidence
from frostline.runs.folder import Run

TOLERANCE = 1e-4
PER_REQUEST = 25


async def served(port: int, files: Sequence[Path], classes: Sequence[str]) -> np.ndarray:
    """Return the probabilities that the server gives."""
    client, rows = Client(port), []
    for begin in range(0, len(files), PER_REQUEST):
        some = [(file.name, file.read_bytes()) for file in files[begin : begin + PER_REQUEST]]
        status, body = await client.send(request(some))
        assert status == 200, body
        rows.append(probabilities(body, classes))
    client.close()
    return np.concatenate(rows)


def on_the_page(port: int, files: Sequence[Path]) -> list[tuple[str, float]]:
    """Return each file's best class and its probability, as the page's CSV gives them."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(f"http://127.0.0.1:{port}/")
        page.fill("input[type=password]", KEY)
        page.keyboard.press("Enter")
        page.set_input_files("#files", [str(file) for file in files])
        expect(page.locator("#status")).to_have_text(f"{len(files)} images done", timeout=600_000)
        with page.expect_download() as download:
            page.get_by_role("button", name="Download CSV").click()
        text = Path(download.value.path()).read_text(encoding="utf-8")
        browser.close()
    first = [row for row in csv.DictReader(text.splitlines()) if row["rank"] == "1"]
    best = {row["file"]: (row["class"], float(row["probability"])) for row in first}
    return [best[file.name] for file in files]


def compare(table: Table, way: str, got: np.ndarray, expected: np.ndarray) -> None:
    same = int((got.argmax(1) == expected.argmax(1)).sum())
    difference = float(np.abs(got - expected).max())
    table.row(way, f"{same:,} of {len(expected):,}", f"{difference:.1e}")
    assert difference <= TOLERANCE and same == len(expected), way


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, run={"type": Path}, images=1000, limit=6000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = TrainConfig(data="fashion-mnist", weights="bundled", limit=options.limit)
        run = Run(options.run) if options.run else fit_in(folder, config)
        evaluated = read_evidence(run).test.probabilities[: options.images]
        images = split(load_dataset("fashion-mnist"), run.config).test.images[: len(evaluated)]
        files = []
        for number, image in enumerate(np.asarray(images)):
            files.append(folder / f"garment-{number:04}.png")
            files[-1].write_bytes(png(image))
        model = load_bundle(run.model_folder)
        expected = Classifier(model).predict_proba(files)
        table = Table("compared with predict:28", "same classes:>14", "largest difference:>18")
        compare(table, "evaluation", evaluated, expected)
        exported_model = OnnxClassifier(to_onnx(export_program(model), export_record(run), run.name))
        compare(table, "ONNX, onnxruntime", exported_model.predict_proba(files), expected)
        (folder / "keys").write_text(KEY)
        server = Server(run.folder, folder / "keys")
        try:
            compare(table, "server", asyncio.run(served(server.port, files, model.class_names)), expected)
            page = on_the_page(server.port, files)
        finally:
            server.stop()
        # The CSV has the best class with six digits: only that one is compared.
        best = np.array([model.class_names.index(name) for name, _ in page])
        shown = expected.copy()
        shown[np.arange(len(page)), best] = [probability for _, probability in page]
        compare(table, "page, best class of its CSV", shown, expected)
