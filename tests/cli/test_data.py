"""`frostline data`."""

import shutil

import numpy as np
from PIL import Image


def test_list_names_every_data_set_and_where_it_is(frostline):
    done = frostline("data", "list")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("fashion-mnist")]
    assert "60,000 + 10,000 gray 28x28 images of ten garments" in line
    assert line.rstrip().endswith("fashion-mnist")


def test_get_prints_location_and_counts(frostline, small_fashion):
    done = frostline("data", "get", "fashion-mnist", "--data-dir", small_fashion)
    assert done.returncode == 0
    told, line = done.stdout.splitlines()
    assert told.startswith("not the published files of Fashion-MNIST, used anyway: train-images-idx3-ubyte, ")
    assert line == f"fashion-mnist: 1,200 train and 300 test images in {small_fashion}"


def test_check_accepts_the_published_data(frostline):
    done = frostline("data", "check", "fashion-mnist")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert sum("content as published" in line and line.endswith("ok") for line in lines) == 4
    assert any(line.startswith("counts") and "60,000 train, 10,000 test" in line for line in lines)
    assert any(line.startswith("train labels") and "6,000 to 6,000 images in each class" in line for line in lines)
    assert not any(line.rstrip().endswith("problem") for line in lines)


def test_check_lists_differences_from_the_published_data(frostline, small_fashion):
    done = frostline("data", "check", "fashion-mnist", "--data-dir", small_fashion)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("frostline: fashion-mnist differs from the published data: ")
    assert "train-images-idx3-ubyte" in line
    assert "counts" in line
    assert sum(line.rstrip().endswith("problem") for line in done.stdout.splitlines()) == 5


def test_show_writes_a_labeled_sheet(frostline, small_fashion, tmp_path):
    done = frostline("data", "show", "fashion-mnist", "--data-dir", small_fashion)
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, ["wrote fashion-mnist.png"])
    other = frostline(
        "data",
        "show",
        "fashion-mnist",
        "--data-dir",
        small_fashion,
        "--split",
        "test",
        "--seed",
        1,
        "--output",
        "t.png",
    )
    assert (other.returncode, other.stdout.splitlines()[1:]) == (0, ["wrote t.png"])
    sheets = []
    for name in ("fashion-mnist.png", "t.png"):
        with Image.open(tmp_path / name) as image:
            sheets.append(np.asarray(image.convert("L")).astype(int))
    assert min(sheets[0].shape) > 700
    assert sheets[0].std() > 30
    assert (sheets[0] != sheets[1]).any()


def test_a_damaged_file_is_named(frostline, small_fashion, tmp_path):
    folder = shutil.copytree(small_fashion, tmp_path / "data")
    images = folder / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:1000])
    done = frostline("data", "get", "fashion-mnist", "--data-dir", folder)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "train-images-idx3-ubyte has 984 of the 940,800 bytes" in line


def test_drawn_objects_need_no_file(frostline, tmp_path):
    listed = frostline("data", "list").stdout
    assert "twenty made-up objects" in listed and "no file" in listed
    checked = frostline("data", "check", "drawn-objects")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "64 x 64 x 3" in checked.stdout
    shown = frostline("data", "show", "drawn-objects")
    assert (shown.returncode, shown.stdout) == (0, "wrote drawn-objects.png\n")
    with Image.open(tmp_path / "drawn-objects.png") as sheet:
        assert sheet.width > 500


def test_views_are_drawn_one_row_per_class(frostline, small_fashion, tmp_path):
    options = ("--data-dir", small_fashion, "--output", "views.png")
    assert frostline("data", "show", "fashion-mnist", "--augment", "rotation=20", *options).returncode == 0
    with Image.open(tmp_path / "views.png") as sheet:
        assert sheet.width > 900 and sheet.height > 700
    wrong = frostline("data", "show", "fashion-mnist", "--augment", "rotate=20", *options)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "unknown change 'rotate'" in wrong.stderr and "Did you mean 'rotation'?" in wrong.stderr


def test_export_writes_class_folders(frostline, small_fashion, tmp_path):
    options = ["data", "export", "fashion-mnist", "out", "--data-dir", small_fashion, "--per-class", 3]
    done = frostline(*options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "wrote 30 train, 30 test images to out"
    assert len(list((tmp_path / "out" / "test" / "T-shirt_top").glob("00000?.png"))) == 3
    again = frostline(*options)
    assert (again.returncode, again.stderr) == (
        2,
        "frostline: out is not empty (it contains test): choose a new folder.\n",
    )
