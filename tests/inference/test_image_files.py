"""Image files and folders of them: the bad ones are named, the others are answered."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.data.dataset import BadImage
from frostline.errors import DataError
from frostline.inference.classifier import Classifier
from frostline.inference.image_files import classify_files, find_images


@pytest.fixture(scope="module")
def classifier(finished):
    return Classifier.load(finished.folder)


def test_folders_are_searched_for_images_and_dot_names_passed_over(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".cache").mkdir()
    names = ("b.PNG", "a.jpg", "notes.txt", "deep/er/c.webp", "._a.jpg", ".cache/d.png", ".DS_Store")
    for name in names:
        (tmp_path / name).write_bytes(b"")
    found = find_images([tmp_path, tmp_path / "notes.txt", tmp_path / "._a.jpg"])
    assert [str(path.relative_to(tmp_path)) for path in found.files] == [
        "a.jpg", "b.PNG", "deep/er/c.webp", "notes.txt", "._a.jpg"
    ]  # fmt: skip
    assert found.bad == ()


def test_a_path_that_is_missing_costs_the_others_nothing(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    missing = [tmp_path / "nowhere.png", Path("x" * 300), Path("nul\0")]
    found = find_images([*missing, tmp_path / "a.png"])
    assert found.files == (tmp_path / "a.png",)
    assert [one.path for one in found.bad] == missing
    assert found.bad[0].reason == "does not exist"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "closed").mkdir(mode=0)
    found = find_images([tmp_path])
    assert found.bad == (BadImage(tmp_path / "closed", "cannot be opened: Permission denied"),)


def test_where_nothing_is_found_the_paths_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no images found: .*nowhere does not exist"):
        find_images([tmp_path / "nowhere"])
    with pytest.raises(DataError, match=r"no images in .*expected \."):
        find_images([tmp_path])


def test_bad_files_have_a_reason_and_the_others_their_probabilities(classifier, fashion, tmp_path):
    images = np.asarray(fashion.test.images[:3])
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for image, file in zip(images, files, strict=True):
        Image.fromarray(image).save(file)
    (tmp_path / "cut.png").write_bytes(files[0].read_bytes()[:60])
    os.mkfifo(tmp_path / "pipe.png")
    mixed = [tmp_path / "cut.png", files[0], tmp_path / "pipe.png", tmp_path / "gone.png", *files[1:]]
    batches = list(classify_files(classifier, mixed))
    answers = [answer for batch in batches for answer in batch]
    assert [answer.file for answer in answers] == mixed
    bad = {answer.file.name: answer.reason for answer in answers if answer.probabilities is None}
    assert set(bad) == {"cut.png", "pipe.png", "gone.png"}
    assert all("\n" not in reason and str(tmp_path) not in reason for reason in bad.values())
    good = np.stack([answer.probabilities for answer in answers if answer.probabilities is not None])
    assert np.allclose(good, classifier.predict_proba(files), atol=1e-5)


def test_answers_come_batch_by_batch(classifier, fashion, tmp_path):
    Image.fromarray(np.asarray(fashion.test.images[0])).save(tmp_path / "a.png")
    files = [tmp_path / "a.png"] * (classifier.batch_size + 3)
    batches = classify_files(classifier, files)
    assert len(next(batches)) == classifier.batch_size
    assert len(next(batches)) == 3
    assert next(batches, None) is None


def test_a_limit_of_pixels_is_obeyed(classifier, tmp_path):
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    ((answer,),) = classify_files(classifier, [tmp_path / "a.png"], max_pixels=1199)
    assert answer.reason.startswith("claims 40 x 30 pixels")
    ((answer,),) = classify_files(classifier, [tmp_path / "a.png"], max_pixels=1200)
    assert answer.probabilities is not None
