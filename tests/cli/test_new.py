"""`frostline new`."""

import tomllib

import pytest
from PIL import Image

from tests.class_folders import write_classes, write_hostile


@pytest.fixture
def photos(tmp_path, fashion):
    folder = write_classes(tmp_path / "photos", fashion.train)
    (folder / "bag" / "copy.png").write_bytes((folder / "bag" / "00.png").read_bytes())
    write_hostile(folder / "boot", fashion.train)
    return folder


def test_file_has_reasons_and_can_be_trained_with(frostline, photos, tmp_path):
    done = frostline("new", "photos")
    assert (done.returncode, done.stderr) == (0, "")
    text = (tmp_path / "config.toml").read_text()
    assert done.stdout.splitlines()[-1] == "wrote config.toml    try: frostline train --config config.toml"
    flat = " ".join(line.removeprefix("# ") for line in text.splitlines())
    assert "3 classes: bag 18, boot 17, trouser 17." in flat
    assert "Files that cannot be read: 4." in flat and "look like another of their class: 1." in flat
    values = tomllib.loads(text)
    assert (values["data"], values["image_size"], values["head"], values["views"]) == ("photos", 128, "ridge", 1)
    assert "in closed form: with up to 2,000 training images (here 46)" in flat
    assert values["model"] == "auto" and "weights on this machine" in flat
    assert values["prior"] == "auto" and "how images of one object differ" in flat
    assert not {"epochs", "lr", "batch_size", "weight_decay", "label_smoothing"} & set(values)
    done = frostline("train", "--config", "config.toml", "--weights", "random", "--image-size", 64)
    assert done.returncode == 0, done.stderr


def test_many_images_get_a_head_that_is_trained(frostline, tmp_path):
    assert frostline("new", "fashion-mnist").returncode == 0
    text = (tmp_path / "config.toml").read_text()
    values = tomllib.loads(text)
    assert (values["head"], values["epochs"], values["batch_size"], values["lr"]) == ("linear", 12, 256, 0.0006)
    assert (values["model"], values["freeze"], values["image_size"]) == ("alexnet", "conv5", 128)
    assert "gradient steps per epoch: 211" in text


def test_existing_file_is_kept(frostline, photos, tmp_path):
    (tmp_path / "config.toml").write_text("mine")
    done = frostline("new", "photos")
    assert done.returncode == 2
    assert done.stderr == "frostline: config.toml exists: --overwrite replaces it, or --output chooses another place.\n"
    assert (tmp_path / "config.toml").read_text() == "mine"
    assert frostline("new", "photos", "--overwrite", "--quiet").stdout == ""
    assert (tmp_path / "config.toml").read_text() != "mine"


def test_large_unbalanced_color_images(frostline, tmp_path):
    for name, count, turned in (("cat", 40, 0), ("dog", 6, 3)):
        (tmp_path / "large" / name).mkdir(parents=True)
        for i in range(count):
            image = Image.linear_gradient("L").rotate(7 * i + turned).resize((320, 240)).convert("RGB")
            image.save(tmp_path / "large" / name / f"{i}.jpg")
    assert frostline("new", "large", "--output", "new/mine.toml").returncode == 0
    text = (tmp_path / "new" / "mine.toml").read_text()
    flat = " ".join(line.removeprefix("# ") for line in text.splitlines())
    assert "The median image has 320 x 240 pixels" in flat
    assert "times as many images as dog" in flat and "all colored" in flat


def test_unknown_data_set_is_one_line(frostline, tmp_path):
    done = frostline("new", "nothing")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
