"""A run remembers which images it was begun with, and goes on with no others."""

import re
from dataclasses import replace

import numpy as np
import pytest

from frostline._utils.storage import write_json
from frostline.config import TrainConfig
from frostline.data.arrays import from_arrays
from frostline.data.dataset import ImageDataset, Splits
from frostline.errors import RunError
from frostline.pipeline.resolve import RunSplits
from frostline.runs.fit import check_same_data, data_facts, fit
from frostline.runs.folder import Run
from tests.small_run import FAST, InterruptTraining

ADVICE = "restore the images to resume, choose another --name, or --overwrite to replace it."


def some(count: int, seed: int) -> ImageDataset:
    images = np.random.default_rng(seed).integers(0, 256, (count, 5, 4), dtype=np.uint8)
    return ImageDataset(images, np.arange(count) % 2, ("a", "b"))


PARTS = RunSplits(some(8, 0), some(4, 1), some(4, 2))


@pytest.fixture
def run(tmp_path) -> Run:
    write_json(tmp_path / "mine" / "data.json", data_facts(PARTS))
    return Run(tmp_path / "mine")


def test_the_same_images_are_welcome(run):
    check_same_data(run, RunSplits(some(8, 0), some(4, 1), some(4, 2)))


@pytest.mark.parametrize(
    ("parts", "change"),
    [
        (replace(PARTS, train=some(9, 0)), "training: 8 then, 9 now"),
        (replace(PARTS, train=PARTS.train.subset(np.arange(7))), "training: 8 then, 7 now"),
        (replace(PARTS, test=some(4, 5)), "test: 4 as before, but not the same"),
        (replace(PARTS, train=replace(PARTS.train, labels=1 - PARTS.train.labels)),
         "training: 8 as before, but not the same"),
        (replace(PARTS, train=PARTS.train.subset(np.arange(8)[::-1])), "training: 8 as before, but not the same"),
        (replace(PARTS, train=some(6, 0), val=some(5, 1)), "training: 8 then, 6 now; validation: 4 then, 5 now"),
    ],
)  # fmt: skip
def test_other_images_are_refused(run, parts, change):
    with pytest.raises(RunError) as refused:
        check_same_data(run, parts)
    assert str(refused.value) == f"run 'mine' was started with other images ({change}): {ADVICE}"


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b'{"train": 3, "val": 1, "test": 2}', b"\xff"])
def test_a_record_that_is_missing_or_damaged_is_refused(run, content):
    path = run.folder / "data.json"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(RunError, match=r"there is no .*data\.json" if content is None else r"data\.json is damaged"):
        check_same_data(run, PARTS)


def test_a_stopped_run_does_not_go_on_with_other_images(fashion: Splits, cache, tmp_path):
    images, labels = np.asarray(fashion.train.images), fashion.train.labels

    def splits(rows: slice) -> Splits:
        return from_arrays(images[rows], labels[rows], test=(images[-60:], labels[-60:]))

    config = TrainConfig(**FAST | {"data": "mine", "epochs": 4})
    options = {"name": "stopped", "output_dir": tmp_path, "cache_dir": cache}
    with pytest.raises(KeyboardInterrupt):
        fit(config, **options, splits=splits(slice(0, 300)), progress=InterruptTraining(steps=3))
    with pytest.raises(RunError, match=rf"other images \(training: \d+ then, \d+ now.*{re.escape(ADVICE)}$"):
        fit(config, **options, splits=splits(slice(0, 320)), resume=True)
    assert not Run.load("stopped", tmp_path).finished
    assert fit(config, **options, splits=splits(slice(0, 300)), resume=True).finished
    assert fit(config, **options, splits=splits(slice(0, 320)), overwrite=True).finished
