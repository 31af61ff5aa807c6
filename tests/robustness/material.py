"""One file of every kind that Frostline reads, small: `base`, and `other` with the same names from other images."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

SIDE = 64
QUICK = ["--model", "alexnet", "--image-size", SIDE, "--prior", "none", "--no-report", "--quiet"]
STUDY = ["--model", "alexnet", "--image-size", SIDE, "--seed", 3]
TUNE = [
    "--model",
    "alexnet",
    "--trials",
    2,
    "--search",
    "lr,weight_decay",
    "--head",
    "linear",
    "--epochs",
    2,
    "--prior",
    "none",
    "--image-size",
    SIDE,
]
CURVE = ["--labels", "1,2", "--ways", "pixels,frozen", "--repeats", 2, *STUDY]
MLP = {"head": "mlp", "epochs": 4, "batch_size": 8, "patience": 4, "hidden_width": 16, "taps": "none", "lr": 0.003}


def draw_images(folder: Path, channels: dict[str, int], per_class: int = 12, seed: int = 0, side: int = SIDE) -> Path:
    """Write ``folder/CLASS/NNN.bmp``: a square in one color on noise."""
    rng = np.random.default_rng(seed)
    for name, channel in channels.items():
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = rng.integers(90, 160, (side, side, 3), dtype=np.uint8)
            pixels[side // 4 : -side // 4, side // 4 : -side // 4] = 20
            pixels[side // 4 : -side // 4, side // 4 : -side // 4, channel] = 230
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.bmp")
    return folder


def build_material(root: Path) -> None:
    """Build both; other processes that want the same wait. Call it in a process of its own: it changes folders."""
    with FileLock(root.with_suffix(".lock")):
        if (root / "whole").exists():
            return
        shutil.rmtree(root, ignore_errors=True)
        base = draw_images(root / "p", {"red": 0, "blue": 2})
        other = draw_images(root / "q", {"red": 2, "blue": 0}, seed=1)
        _build(root / "base", base, complete=True)
        _build(root / "other", other, complete=False)
        (root / "whole").touch()


def _build(place: Path, data: Path, *, complete: bool) -> None:
    place.mkdir()
    os.chdir(place)
    os.environ["FROSTLINE_CACHE_DIR"] = str(place / "cache")
    _command("train", data, "--name", "first", *QUICK)
    _interrupt(data, place)
    _tables(place, data, seed=len(data.name + place.name))
    _weights(place, seed=len(place.name))
    _idx(place, seed=len(place.name))
    if complete:
        _command("train", data, "--name", "second", "--seed", 1, *QUICK)
        _command("export", "first", "--quiet")
        _command("tune", data, "--name", "t", *TUNE, "--quiet")
        _command("curve", data, "--output-dir", "curves/c", *CURVE, "--quiet")
        _command("audit", data, "--name", "a", *STUDY, "--quiet")
        _correct(place, data)
        published = Path("/usr/share/datasets/fashion-mnist")
        if published.is_dir():
            shutil.copytree(published, place / "published")


def _command(*words: object) -> None:
    from frostline.cli.main import run

    code = run([str(word) for word in words])
    assert code == 0, words


def _interrupt(data: Path, place: Path) -> None:
    """Leave a run with a checkpoint."""
    from frostline import TrainConfig, fit
    from tests.small_run import InterruptTraining

    config = TrainConfig(data=str(data), image_size=SIDE, weights="bundled", **MLP)
    try:
        fit(config, name="stopped", output_dir=place / "runs", progress=InterruptTraining(7))
    except KeyboardInterrupt:
        assert (place / "runs" / "stopped" / "checkpoint.safetensors").is_file()
    else:
        raise AssertionError("it was not stopped")


def _tables(place: Path, data: Path, seed: int) -> None:
    import pyarrow
    from pyarrow import parquet

    folder = place / "tables"
    folder.mkdir()
    files = sorted(data.rglob("*.bmp"))
    columns = {"path": [str(file) for file in files], "label": [file.parent.name for file in files]}
    with (folder / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([tuple(columns), *zip(*columns.values(), strict=True)])
    parquet.write_table(pyarrow.table(columns), folder / "t.parquet")
    images = np.random.default_rng(seed).integers(0, 256, (30, 12, 12, 3), dtype=np.uint8)
    np.savez(folder / "t.npz", images=images, labels=np.arange(30) % 3)


def _weights(place: Path, seed: int) -> None:
    import torch
    from safetensors.torch import save_file

    folder = place / "weights"
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    shapes = {"features.0.weight": (64, 3, 11, 11), "features.0.bias": (64,), "features.3.bias": (192,)}
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    torch.save(state, folder / "w.pth")
    save_file(state, folder / "w.safetensors")


def _idx(place: Path, seed: int) -> None:
    from tests.conftest import write_idx

    folder = place / "idx"
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for prefix, count in (("train", 40), ("t10k", 20)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28)))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", np.arange(count) % 10)


def _correct(place: Path, data: Path) -> None:
    """Write an audit.csv that asks for one change."""
    path = place / "audits" / "a" / "audit.csv"
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows, names = list(reader), list(reader.fieldnames or ())
    rows[0]["remove"] = "yes"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
