"""Writing data sets as class folders."""

import numpy as np
import pytest
from PIL import Image

from frostline._utils.progress import Silent
from frostline.data.arrays import from_arrays
from frostline.data.class_folders import write_class_folders
from frostline.data.registry import from_folder
from frostline.errors import ConfigError, DataError


@pytest.fixture
def splits():
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
    return from_arrays(images, np.repeat([0, 1, 2], 20), ["a/b", "a:b", "c"])


def test_written_images_are_those_of_the_data_set(splits, tmp_path):
    counts = write_class_folders(splits, tmp_path / "out")
    assert counts == {"train": len(splits.train), "test": len(splits.test)}
    again = from_folder(tmp_path / "out")
    assert again.train.class_names == ("a_b", "a_b-2", "c")
    for ours, theirs in ((splits.train, again.train), (splits.test, again.test)):
        for label in range(3):
            before = ours.images[ours.labels == label]
            after = theirs.pixels(np.flatnonzero(theirs.labels == label))
            assert np.array_equal(before, after)


def test_first_images_of_each_class(splits, tmp_path):
    assert write_class_folders(splits, tmp_path / "out", per_class=2) == {"train": 6, "test": 6}
    names = sorted(path.name for path in (tmp_path / "out" / "test" / "c").iterdir())
    assert names == ["000001.png", "000002.png"]


def test_files_are_copied_as_they_are(splits, tmp_path):
    write_class_folders(splits, tmp_path / "in")
    (tmp_path / "in" / "train" / "c" / "000001.png").unlink()
    Image.fromarray(splits.train.images[-1]).save(tmp_path / "in" / "train" / "c" / "000001.JPG", quality=50)
    write_class_folders(from_folder(tmp_path / "in"), tmp_path / "out")
    files = {path.relative_to(tmp_path / "in").as_posix(): path.read_bytes() for path in (tmp_path / "in").rglob("*.*")}
    copies = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")
    }
    files["train/c/000001.jpg"] = files.pop("train/c/000001.JPG")
    assert copies == files


def test_folder_with_files_is_refused(splits, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"is not empty \(it contains mine.txt\): choose a new folder\."):
        write_class_folders(splits, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_an_interrupted_export_wrote_is_removed(splits, tmp_path):
    write_class_folders(splits, tmp_path / "in")
    loaded = from_folder(tmp_path / "in")
    (tmp_path / "in" / "test" / "a_b" / "000003.png").unlink()
    with pytest.raises(DataError, match=r"000003.png cannot be read"):
        write_class_folders(loaded, tmp_path / "new" / "out")
    assert not (tmp_path / "new" / "out").exists()

    class Interrupt(Silent):
        def bar(self, label, total, unit):
            raise KeyboardInterrupt

    (tmp_path / "empty").mkdir()
    with pytest.raises(KeyboardInterrupt):
        write_class_folders(splits, tmp_path / "empty", progress=Interrupt())
    assert list((tmp_path / "empty").iterdir()) == []
    with pytest.raises(DataError, match=r"000003.png cannot be read"):
        write_class_folders(loaded, tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []  # its owner made it
