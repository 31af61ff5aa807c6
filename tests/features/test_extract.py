import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from frostline.data.dataset import ImageDataset, Splits
from frostline.data.preprocess import Preprocess
from frostline.errors import DataError
from frostline.features.extract import SHARD_ROWS
from frostline.features.forward import FastForward
from frostline.features.shard import read_manifest
from tests.features.passes import Counter, Interrupter, as_files, everything, first, keep, make_forward
from tests.features.stores import DAMAGES


def shards(cache: Path) -> list[Path]:
    return sorted((cache / "activations").glob("*/shard-*"))


def listed_rows(cache: Path) -> int:
    return sum(entry.rows for folder in (cache / "activations").iterdir() for entry in read_manifest(folder))


def joined(*parts: ImageDataset) -> ImageDataset:
    """Return data sets of files as one."""
    paths = tuple(path for part in parts for path in part.images)
    return ImageDataset(paths, np.concatenate([part.labels for part in parts]), parts[0].class_names)


def test_the_first_pass_computes_every_row_and_says_so(
    fashion: Splits, cache: Path, forward: FastForward, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "frostline")
    kept, done, computed = keep(first(fashion, 150), cache, forward)
    assert (done.images, done.from_cache, computed) == (150, 0, 150)
    assert done.images_per_second == pytest.approx(150 / done.seconds)
    assert "150 of 150 images to compute through conv1" in caplog.text
    assert len(kept[0]) == 150 and kept[0].shape == (64, 7, 7)


def test_the_second_pass_computes_nothing_and_says_so(
    fashion: Splits, cache: Path, forward: FastForward, caplog: pytest.LogCaptureFixture
) -> None:
    before = everything(keep(first(fashion, 150), cache, forward)[0][0])
    caplog.set_level(logging.INFO, "frostline")
    kept, done, computed = keep(first(fashion, 150), cache, forward)
    assert (done.from_cache, computed, done.images_per_second) == (150, 0, 0.0)
    assert "features found in the cache" in caplog.text
    assert torch.equal(everything(kept[0]), before)


def test_kept_rows_are_the_frozen_output(fashion: Splits, cache: Path, device: torch.device) -> None:
    images, forward = first(fashion, 70), make_forward("conv1", device=device)
    kept = everything(keep(images, cache, forward)[0][0])
    with torch.inference_mode():
        expected = forward.frozen(forward.preprocess(np.asarray(images.images)).to(device)).cpu()
    torch.testing.assert_close(kept, expected, rtol=0, atol=1e-5 * float(expected.max()))


def test_labels_order_split_and_subset_are_hits(fashion: Splits, cache: Path, forward: FastForward) -> None:
    images = first(fashion, 200)
    rows = everything(keep(images, cache, forward)[0][0])
    order = np.random.default_rng(0).permutation(200)
    relabeled = replace(images, labels=(images.labels + 1) % 10, class_names=tuple("abcdefghij"))
    asked = {
        "labels": ([relabeled], [np.arange(200)]),
        "order": ([images.subset(order)], [order]),
        "split": ([images.subset(order[:150]), images.subset(order[150:])], [order[:150], order[150:]]),
        "subset": ([images.subset(order[:7])], [order[:7]]),
        "repeated": ([images.subset(np.repeat(order[:7], 3))], [np.repeat(order[:7], 3)]),
    }
    for what, (datasets, positions) in asked.items():
        kept, done, computed = keep(datasets, cache, forward)
        assert computed == 0 and done.from_cache == done.images, what
        for part, indices in zip(kept, positions, strict=True):
            assert torch.equal(everything(part), rows[indices]), what


@pytest.mark.parametrize("other", ["size", "mean", "std", "weights", "boundary", "taps", "dtype"])
def test_another_way_of_computing_is_a_miss(fashion: Splits, cache: Path, forward: FastForward, other: str) -> None:
    images = first(fashion, 10)
    keep(images, cache, forward)
    cpu = torch.device("cpu")
    changed = {
        "size": lambda: make_forward("conv1", image_size=65),
        "mean": lambda: FastForward(forward.frozen, Preprocess(64, mean=(0.5, 0.456, 0.406)), cpu),
        "std": lambda: FastForward(forward.frozen, Preprocess(64, std=(0.5, 0.224, 0.225)), cpu),
        "weights": lambda: make_forward("conv1", seed=1),
        "boundary": lambda: make_forward("conv2"),
        "taps": lambda: make_forward("conv1", taps=("conv1",)),
        "dtype": lambda: forward,
    }[other]()
    assert keep(images, cache, changed, "float16" if other == "dtype" else "float32")[2] == 10
    assert keep(images, cache, forward)[2] == 0  # and the old store is still there


def test_a_hundred_added_images_compute_a_hundred_rows(fashion: Splits, cache: Path, forward: FastForward) -> None:
    old = everything(keep(first(fashion, 150), cache, forward)[0][0])
    kept, done, computed = keep(first(fashion, 250), cache, forward)
    assert (done.images, done.from_cache, computed) == (250, 150, 100)
    assert listed_rows(cache) == 250
    assert torch.equal(everything(kept[0])[:150], old)


def test_a_hundred_added_files_compute_a_hundred_rows(
    fashion: Splits, cache: Path, forward: FastForward, tmp_path: Path
) -> None:
    old = as_files(first(fashion, 150), tmp_path / "old")
    keep(old, cache, forward)
    new = as_files(first(fashion, 100, 150), tmp_path / "new")
    _, done, computed = keep(joined(new, old), cache, forward)
    assert (done.images, done.from_cache, computed) == (250, 150, 100)
    assert listed_rows(cache) == 250


def test_an_edited_file_computes_one_row_and_a_renamed_one_none(
    fashion: Splits, cache: Path, forward: FastForward, tmp_path: Path
) -> None:
    files = as_files(first(fashion, 30), tmp_path)
    rows = everything(keep(files, cache, forward)[0][0])
    renamed = files.images[4].rename(tmp_path / "another name.png")
    same = ImageDataset((*files.images[:4], renamed, *files.images[5:]), files.labels, files.class_names)
    assert keep(same, cache, forward)[2] == 0
    Image.fromarray(np.full((28, 28), 77, np.uint8)).save(files.images[9])
    edited = ImageDataset(same.images, files.labels, files.class_names)
    kept, _, computed = keep(edited, cache, forward)
    assert computed == 1
    differs = (everything(kept[0]) != rows).flatten(1).any(1)
    assert differs.nonzero().flatten().tolist() == [9]


def test_duplicates_are_computed_once(fashion: Splits, cache: Path, forward: FastForward) -> None:
    images = first(fashion, 20)
    twice = images.subset(np.array([*range(20), *range(20), 3]))
    kept, done, computed = keep([twice, images], cache, forward)
    assert (done.images, done.from_cache, computed) == (61, 0, 20)
    assert listed_rows(cache) == 20
    rows = everything(kept[0])
    assert torch.equal(rows[:20], rows[20:40]) and torch.equal(rows[3], rows[40])


def test_copies_of_a_file_are_computed_once(fashion: Splits, cache: Path, forward: FastForward, tmp_path: Path) -> None:
    one = as_files(first(fashion, 20), tmp_path / "one")
    two = as_files(first(fashion, 20), tmp_path / "two")
    assert keep(joined(one, two), cache, forward)[2] == 20


def test_a_full_shard_is_followed_by_another(fashion: Splits, cache: Path, forward: FastForward) -> None:
    images = fashion.train.subset(np.arange(SHARD_ROWS + 150))
    kept, _, computed = keep(images, cache, forward, "float16")
    assert [entry.rows for entry in read_manifest(shards(cache)[0].parent)] == [SHARD_ROWS, computed - SHARD_ROWS]
    tail = np.arange(SHARD_ROWS - 30, SHARD_ROWS + 30)
    assert torch.equal(kept[0].take(tail), everything(keep(images.subset(tail), cache / "2", forward, "float16")[0][0]))


@pytest.mark.parametrize("damage", DAMAGES)
def test_only_a_damaged_shards_rows_are_computed_again(
    fashion: Splits, cache: Path, forward: FastForward, caplog: pytest.LogCaptureFixture, damage: object
) -> None:
    for count in (30, 80, 100):  # three shards: 30, 50 and 20 rows
        rows = everything(keep(first(fashion, count), cache, forward)[0][0])
    broken = shards(cache)[1]
    damage(broken)
    kept, done, computed = keep(first(fashion, 100), cache, forward)
    assert (done.from_cache, computed) == (50, 50)
    assert f"{broken} is damaged" in caplog.text and "its 50 rows are computed again" in caplog.text
    assert torch.equal(everything(kept[0]), rows)
    caplog.clear()
    assert keep(first(fashion, 100), cache, forward)[2] == 0
    assert "damaged" not in caplog.text


def test_a_damaged_manifest_costs_one_pass(
    fashion: Splits, cache: Path, forward: FastForward, caplog: pytest.LogCaptureFixture
) -> None:
    rows = everything(keep(first(fashion, 100), cache, forward)[0][0])
    manifest = shards(cache)[0].with_name("manifest.json")
    manifest.write_text(manifest.read_text().replace("shard-00000", "shard-00001"))
    kept, _, computed = keep(first(fashion, 100), cache, forward)
    assert computed == 100 and str(manifest) in caplog.text
    assert torch.equal(everything(kept[0]), rows)
    assert keep(first(fashion, 100), cache, forward)[2] == 0


def test_ctrl_c_keeps_what_is_computed(fashion: Splits, cache: Path, forward: FastForward) -> None:
    images, stopped = first(fashion, 500), Interrupter(after=130)
    with pytest.raises(KeyboardInterrupt):
        keep(images, cache, forward, progress=stopped)
    assert 130 <= stopped.rows < 500
    assert listed_rows(cache) == stopped.rows
    kept, done, computed = keep(images, cache, forward)
    assert (done.from_cache, computed) == (stopped.rows, 500 - stopped.rows)
    assert torch.equal(everything(kept[0]), everything(keep(images, cache / "straight", forward)[0][0]))


def test_ctrl_c_again_and_again_still_ends(fashion: Splits, cache: Path, forward: FastForward) -> None:
    images, counters = first(fashion, 300), [Interrupter(after=1) for _ in range(4)]
    for counter in counters:
        with pytest.raises(KeyboardInterrupt):
            keep(images, cache, forward, progress=counter)
    last = Counter()
    keep(images, cache, forward, progress=last)
    assert sum(counter.rows for counter in counters) + last.rows == 300
    assert len(shards(cache)) == 5


@pytest.mark.parametrize(
    ("factor", "told"),
    [(1e6, "too large for float16.*--cache-dtype float32"), (np.inf, "check the weights"), (np.nan, "check the we")],
)
def test_what_float16_cannot_hold_is_refused(fashion: Splits, cache: Path, factor: float, told: str) -> None:
    forward = make_forward("conv1", seed=5)
    for parameter in forward.frozen.parameters():
        parameter.mul_(factor)
    forward = FastForward(forward.frozen, forward.preprocess, forward.device)
    with pytest.raises(DataError, match=told):
        keep(first(fashion, 10), cache, forward, "float16")
    assert shards(cache) == []


def test_what_float16_cannot_hold_fits_float32(fashion: Splits, cache: Path) -> None:
    forward = make_forward("conv1", seed=5)
    for parameter in forward.frozen.parameters():
        parameter.mul_(1e6)
    forward = FastForward(forward.frozen, forward.preprocess, forward.device)
    rows = everything(keep(first(fashion, 10), cache, forward, "float32")[0][0])
    assert 65504 < rows.max() < float("inf")


def test_a_damaged_image_is_named_and_the_store_stays_usable(
    fashion: Splits, cache: Path, forward: FastForward, tmp_path: Path
) -> None:
    files = as_files(first(fashion, 100), tmp_path)
    bad = files.images[80]
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(DataError, match=r"0080\.png"):
        keep(files, cache, forward)
    assert keep(files.subset(np.delete(np.arange(100), 80)), cache, forward)[2] <= 99
    assert listed_rows(cache) == 99


def test_no_images_leave_no_rows(fashion: Splits, cache: Path, forward: FastForward) -> None:
    kept, done, computed = keep([first(fashion, 0), first(fashion, 5)], cache, forward)
    assert (len(kept[0]), len(kept[1]), done.images, computed) == (0, 5, 5, 5)
    assert keep([first(fashion, 0)], cache / "empty", forward)[1].images == 0
    assert keep([first(fashion, 5)], cache / "empty", forward)[2] == 5


def test_a_damaged_file_among_many_is_named_and_what_came_before_is_kept(
    fashion: Splits, cache: Path, tmp_path: Path, forward: FastForward
) -> None:
    files = as_files(first(fashion, 168), tmp_path)
    bad = files.images[128]
    whole = bad.read_bytes()
    assert files.row_ids
    bad.write_bytes(whole[:99])
    with pytest.raises(DataError, match=f"^{bad} was changed while it was being read"):
        keep(files, cache, forward)
    bad.write_bytes(whole)
    assert keep(files, cache, forward)[2] == len(files) - 128
