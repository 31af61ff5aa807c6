"""Do all ways to use a model agree? The same test pictures through evaluate, predict, ONNX, the server and its page.

    python bench/agreement.py [--run runs/NAME] [--pictures 1000]

Without a run, one is trained on 6,000 pictures of Fashion-MNIST. Pictures are PNG files; the page is opened in Debian's
chromium, takes them all at once and gives its table as CSV. Prints for each way how many classes are the same as
`predict`'s and by how much the probabilities differ at most, and asserts that every class is the same and no
probability differs by more than 1e-4.
"""

import argparse
import asyncio
import csv
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from frostline.runs.choose import split

from common import machine
from frostline import Classifier, TrainConfig, fit
from frostline.exporting.onnx import to_onnx
from frostline.exporting.origin import origin
from frostline.exporting.whole import exported
from frostline.images.registry import load_dataset
from frostline.runs.bundle import load_bundle
from frostline.runs.evidence import read_evidence
from frostline.runs.exported import OnnxClassifier
from frostline.runs.folder import Run
from serve import KEY, Client, Server, png, request

LIMIT = 1e-4
PER_REQUEST = 25


async def served(port: int, files: Sequence[Path], classes: Sequence[str]) -> np.ndarray:
    client, rows = Client(port), []
    for start in range(0, len(files), PER_REQUEST):
        some = [(file.name, file.read_bytes()) for file in files[start : start + PER_REQUEST]]
        status, body = await client.send(request(some))
        assert status == 200, body
        for result in json.loads(body)["results"]:
            named = {one["class"]: one["probability"] for one in result["predictions"]}
            rows.append([named[name] for name in classes])
    client.close()
    return np.array(rows)


def on_the_page(port: int, files: Sequence[Path]) -> list[tuple[str, float]]:
    """Return each file's best class and its probability, as the page's CSV says."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(f"http://127.0.0.1:{port}/")
        page.fill("input[type=password]", KEY)
        page.keyboard.press("Enter")
        page.set_input_files("#files", [str(file) for file in files])
        expect(page.locator("#status")).to_have_text(f"{len(files)} pictures done", timeout=600_000)
        with page.expect_download() as download:
            page.get_by_role("button", name="Download CSV").click()
        text = Path(download.value.path()).read_text(encoding="utf-8")
        browser.close()
    first = [row for row in csv.DictReader(text.splitlines()) if row["rank"] == "1"]
    best = {row["file"]: (row["class"], float(row["probability"])) for row in first}
    return [best[file.name] for file in files]


def compare(way: str, got: np.ndarray, expected: np.ndarray) -> None:
    same = int((got.argmax(1) == expected.argmax(1)).sum())
    apart = float(np.abs(got - expected).max())
    print(
        f"{way:34} {same:,} of {len(expected):,} classes the same, probabilities at most {apart:.1e} apart", flush=True
    )
    assert apart <= LIMIT and same == len(expected), way


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = TrainConfig(data="fashion-mnist", weights="bundled", limit=6000)
        run = Run(options.run) if options.run else fit(config, output_dir=folder / "runs", cache_dir=folder / "cache")
        evaluated = read_evidence(run).test.probabilities[: options.pictures]
        images = split(load_dataset("fashion-mnist"), run.config).test.images[: len(evaluated)]
        files = []
        for number, image in enumerate(np.asarray(images)):
            files.append(folder / f"garment-{number:04}.png")
            files[-1].write_bytes(png(image))
        model = load_bundle(run.model_folder)
        expected = Classifier(model).predict_proba(files)
        compare("evaluation", evaluated, expected)
        exported_model = OnnxClassifier(to_onnx(exported(model), origin(run), run.name))
        compare("ONNX, onnxruntime", exported_model.predict_proba(files), expected)
        (folder / "keys").write_text(KEY)
        server = Server(run.folder, folder / "keys")
        try:
            compare("server", asyncio.run(served(server.port, files, model.class_names)), expected)
            page = on_the_page(server.port, files)
        finally:
            server.stop()
        said = np.array([model.class_names.index(best) for best, _ in page])
        # the CSV names the best classes with six digits: what it names is compared
        seen = expected.copy()
        seen[np.arange(len(page)), said] = [probability for _, probability in page]
        compare("page, best class of its CSV", seen, expected)


if __name__ == "__main__":
    main()
