"""Fashion-MNIST: its IDX files, where they are found, and what they hold."""

import gzip
import hashlib
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frostline._utils.download import download
from frostline.data.dataset import Splits
from frostline.data.fashion_mnist import (
    BASES,
    CLASS_NAMES,
    FILES,
    MAX_BYTES,
    SYSTEM_FOLDER,
    content_matches,
    find,
    get,
    load,
    read_idx_and_md5,
    store,
)
from frostline.errors import DataError, DownloadError
from tests.conftest import Server, idx_bytes, write_idx


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    return read_idx_and_md5(path, dimensions)[0]


IMAGES = np.random.default_rng(3).integers(0, 256, (20, 28, 28), dtype=np.uint8)
LABELS = np.arange(20, dtype=np.uint8) % 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_images_and_labels_are_read_plain_and_packed(tmp_path: Path, name: str) -> None:
    write_idx(tmp_path / name, IMAGES)
    np.testing.assert_array_equal(read_idx(tmp_path / name, 3), IMAGES)
    write_idx(tmp_path / name, LABELS)
    np.testing.assert_array_equal(read_idx(tmp_path / name, 1), LABELS)


def test_packing_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    (tmp_path / "plain.gz").write_bytes(idx_bytes(LABELS))
    (tmp_path / "packed").write_bytes(gzip.compress(idx_bytes(LABELS)))
    for name in ("plain.gz", "packed"):
        np.testing.assert_array_equal(read_idx(tmp_path / name, 1), LABELS)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=9)), packed=st.booleans()
)
def test_any_array_survives_a_file(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, packed: bool) -> None:
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if packed else "a")
    write_idx(path, array)
    back = read_idx(path, array.ndim)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("missing", [1, 784, 15_000])
def test_truncated_file_says_how_much_is_there(path: Path, missing: int) -> None:
    path.write_bytes(idx_bytes(IMAGES)[:-missing])
    size = IMAGES.size
    with pytest.raises(DataError) as refused:
        read_idx(path, 3)
    assert str(refused.value) == (
        f"{path} has {size - missing:,} of the {size:,} bytes that its header (20, 28, 28) states: get the file again."
    )


@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
def test_truncated_gz_is_refused(path: Path, share: float) -> None:
    whole = gzip.compress(idx_bytes(IMAGES))
    path.write_bytes(whole[: max(2, int(len(whole) * share))])
    with pytest.raises(DataError, match=f"^{path} is damaged or truncated"):
        read_idx(path, 3)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9995])
def test_flipped_byte_in_gz_is_refused(path: Path, place: float) -> None:
    whole = bytearray(gzip.compress(idx_bytes(IMAGES)))
    whole[int(len(whole) * place)] ^= 0x55
    path.write_bytes(whole)
    with pytest.raises(DataError, match=f"^{path} "):
        read_idx(path, 3)


def test_foreign_bytes_after_gz_are_refused(path: Path) -> None:
    path.write_bytes(gzip.compress(idx_bytes(LABELS)) + b"more")
    with pytest.raises(DataError, match=f"^{path} is damaged or truncated"):
        read_idx(path, 1)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "nothing"),
        (b"\x00\x00", "00 00"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "89 50 4e 47"),
        (idx_bytes(LABELS), "00 00 08 01"),
        (b"\x00\x00\x0d\x03" + bytes(20), "00 00 0d 03"),
        (idx_bytes(IMAGES)[:9], "00 00 08 03"),
        (gzip.compress(b"hello world, no images"), "68 65 6c 6c"),
    ],
    ids=["empty", "two bytes", "png", "labels", "floats", "header alone", "packed text"],
)
def test_foreign_file_is_refused_with_its_first_bytes(path: Path, content: bytes, got: str) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read_idx(path, 3)
    assert str(refused.value) == (
        f"{path} is not an IDX file of 3-dimensional bytes: expected it to begin with 00 00 08 03, got {got}."
    )


@pytest.mark.parametrize("shape", [(2**32 - 1, 2**32 - 1, 2**32 - 1), (2_000_000, 28, 28)])
@pytest.mark.parametrize("packed", [False, True])
def test_oversized_header_is_refused_before_reading(path: Path, shape: tuple[int, ...], packed: bool) -> None:
    content = b"\x00\x00\x08\x03" + struct.pack(">3I", *shape) + bytes(100)
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=rf"^{path} claims [\d,]+ bytes .*: at most {MAX_BYTES:,} are read"):
        read_idx(path, 3)


@pytest.mark.parametrize("name", ["a", "a.gz"])
def test_trailing_bytes_are_refused(tmp_path: Path, name: str) -> None:
    content = idx_bytes(IMAGES) + b"\x00"
    (tmp_path / name).write_bytes(gzip.compress(content) if name == "a.gz" else content)
    with pytest.raises(DataError, match=r"has more than the 15,680 bytes that its header \(20, 28, 28\) states"):
        read_idx(tmp_path / name, 3)


BOMB = """
import resource, sys
from pathlib import Path
from frostline.errors import DataError
from frostline.data.fashion_mnist import read_idx_and_md5
resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))
try:
    read_idx_and_md5(Path(sys.argv[1]), 1)
except DataError as error:
    print(error)
"""


def test_gzip_bomb_is_not_unpacked_further_than_its_header(path: Path) -> None:
    """A megabyte that unpacks to a gigabyte, behind a header that states twenty bytes."""
    block = gzip.compress(bytes(64 << 20))
    path.write_bytes(gzip.compress(idx_bytes(LABELS)) + block * 16)
    done = subprocess.run([sys.executable, "-c", BOMB, path], capture_output=True, text=True, check=True)
    assert done.stdout == (f"{path} has more than the 20 bytes that its header (20,) states: get the file again.\n")


@pytest.mark.parametrize(("name", "why"), [("gone", "No such file"), (".", "it is a folder")])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(DataError, match=f"^{tmp_path / name} cannot be read: {why}"):
        read_idx(tmp_path / name, 3)


def test_a_pipe_or_device_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    for odd in (path, Path("/dev/zero"), path.parent):
        with pytest.raises(DataError, match=f"{odd} cannot be read: it is"):
            read_idx(odd, 1)


def test_a_packed_file_that_goes_on_for_ever_is_left_where_its_header_ends(path: Path) -> None:
    path.write_bytes(gzip.compress(idx_bytes(LABELS) + bytes(100 << 20), 1))
    with pytest.raises(DataError, match="has more than the 20 bytes"):
        read_idx(path, 1)


def test_the_digest_is_that_of_what_is_unpacked(path: Path) -> None:
    for data in (idx_bytes(IMAGES), gzip.compress(idx_bytes(IMAGES))):
        path.write_bytes(data)
        assert read_idx_and_md5(path, 3)[1] == hashlib.md5(idx_bytes(IMAGES)).hexdigest()


def copied(folder: Path, to: Path) -> Path:
    return shutil.copytree(folder, to, dirs_exist_ok=True)


def test_published_counts_shapes_and_names(fashion: Splits) -> None:
    assert fashion.name == "fashion-mnist"
    assert isinstance(fashion.train.images, np.ndarray)
    assert isinstance(fashion.test.images, np.ndarray)
    assert fashion.train.images.shape == (60_000, 28, 28)
    assert fashion.test.images.shape == (10_000, 28, 28)
    assert np.bincount(fashion.train.labels).tolist() == [6000] * 10
    assert np.bincount(fashion.test.labels).tolist() == [1000] * 10
    assert fashion.train.class_names[0] == "T-shirt/top"
    assert fashion.train.class_names[9] == "Ankle boot"
    assert fashion.train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]  # as every tutorial prints them


@pytest.mark.parametrize("role", FILES)
def test_real_files_hold_the_published_bytes(fashion: Splits, role: str) -> None:
    paths = find(Path(fashion.source))
    assert paths is not None
    path = paths[role]
    packed = path.read_bytes()
    content = gzip.decompress(packed) if path.suffix == ".gz" else packed
    assert hashlib.md5(content).hexdigest() == FILES[role].content_md5
    assert content_matches(path, FILES[role])


def test_changed_file_is_not_the_published_one(small_fashion: Path) -> None:
    assert not content_matches(small_fashion / "t10k-labels-idx1-ubyte", FILES["test labels"])


def test_explicit_folder_is_the_only_one_looked_at(small_fashion: Path, tmp_path: Path, cache: Path) -> None:
    copied(small_fashion, store(cache))
    here = copied(small_fashion, tmp_path / "here")
    found = find(here, cache, system=small_fashion)
    assert found is not None
    assert {path.parent for path in found.values()} == {here}
    assert find(tmp_path / "empty", cache, system=small_fashion) is None


def test_system_folder_comes_before_the_cache(small_fashion: Path, tmp_path: Path, cache: Path) -> None:
    copied(small_fashion, store(cache))
    found = find(None, cache, system=small_fashion)
    assert found is not None
    assert found["train images"] == small_fashion / "train-images-idx3-ubyte"
    found = find(None, cache, system=tmp_path / "nothing")
    assert found is not None
    assert found["train images"] == cache / "datasets" / "fashion-mnist" / "train-images-idx3-ubyte"


def test_folder_that_lacks_a_file_is_passed_over(small_fashion: Path, tmp_path: Path, cache: Path) -> None:
    copied(small_fashion, store(cache))
    system = copied(small_fashion, tmp_path / "system")
    (system / "t10k-labels-idx1-ubyte").unlink()
    found = find(None, cache, system=system)
    assert found is not None
    assert {path.parent for path in found.values()} == {store(cache)}


def test_plain_and_packed_files_may_stand_side_by_side(small_fashion: Path, tmp_path: Path) -> None:
    folder = copied(small_fashion, tmp_path / "mixed")
    plain = folder / "train-images-idx3-ubyte"
    plain.with_name(plain.name + ".gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    splits = load(folder)
    np.testing.assert_array_equal(splits.train.images, load(small_fashion).train.images)
    assert splits.source == str(folder)
    assert (len(splits.train), len(splits.test)) == (1200, 300)


def test_explicit_folder_without_a_file_is_refused(small_fashion: Path, tmp_path: Path) -> None:
    folder = copied(small_fashion, tmp_path / "part")
    (folder / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(DataError) as refused:
        load(folder)
    assert str(refused.value) == (
        f"{folder} does not contain Fashion-MNIST: expected train-images-idx3-ubyte, train-labels-idx1-ubyte, "
        "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte (plain or .gz)."
    )


def test_labels_that_do_not_belong_to_the_images_are_refused(small_fashion: Path, tmp_path: Path) -> None:
    folder = copied(small_fashion, tmp_path / "mixed up")
    shutil.copy(folder / "t10k-labels-idx1-ubyte", folder / "train-labels-idx1-ubyte")
    with pytest.raises(DataError) as refused:
        load(folder)
    assert str(refused.value) == (
        f"{folder}/train-images-idx3-ubyte and {folder}/train-labels-idx1-ubyte do not fit together: "
        "1200 images but 300 labels: each image needs one label."
    )


def test_label_that_no_class_has_is_refused(small_fashion: Path, tmp_path: Path) -> None:
    folder = copied(small_fashion, tmp_path / "eleven")
    write_idx(folder / "t10k-labels-idx1-ubyte", np.arange(300) % 11)
    with pytest.raises(DataError, match="do not fit together: labels run from 0 to 10, but there are 10"):
        load(folder)


def test_swapped_files_are_refused(small_fashion: Path, tmp_path: Path) -> None:
    folder = copied(small_fashion, tmp_path / "swapped")
    shutil.copy(folder / "train-labels-idx1-ubyte", folder / "train-images-idx3-ubyte")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is not an IDX file of 3-dimensional bytes"):
        load(folder)


def test_wrong_download_is_refused_with_the_published_md5(server: Server, tmp_path: Path, cache: Path) -> None:
    name = "train-images-idx3-ubyte.gz"
    write_idx(server.folder / name, np.zeros((3, 28, 28)))
    with pytest.raises(
        DownloadError,
        match=rf"^{name} could not be downloaded \({server.address}/{name}: sent a file"
        r" with md5 [0-9a-f]{32}, expected 8d4fb7e6c68d591d4c3dfef9ec88bf0d\)",
    ):
        get(None, cache, system=tmp_path)
    assert list(store(cache).iterdir()) == []


@pytest.mark.parametrize("role", FILES)
def test_every_file_is_checked_against_its_own_md5(server: Server, tmp_path: Path, cache: Path, role: str) -> None:
    wanted = f"{FILES[role].name}.gz"
    store(cache).mkdir(parents=True)
    for part in FILES.values():
        if part != FILES[role]:
            (store(cache) / part.name).touch()
    (server.folder / wanted).write_bytes(b"not this")
    with pytest.raises(DownloadError, match=f"^{wanted} could not be downloaded .*expected {FILES[role].gz_md5}"):
        get(None, cache, system=tmp_path)
    assert server.asked == [f"/{wanted}"]


def test_file_with_the_right_md5_is_kept_in_the_cache(server: Server, cache: Path, small_fashion: Path) -> None:
    name = "t10k-labels-idx1-ubyte"
    packed = gzip.compress((small_fashion / name).read_bytes(), mtime=0)
    (server.folder / f"{name}.gz").write_bytes(packed)
    urls = [f"{base}{name}.gz" for base in BASES]
    target = store(cache) / f"{name}.gz"
    download(urls, target, algorithm="md5", digest_head=hashlib.md5(packed).hexdigest())
    assert target.read_bytes() == packed
    assert server.asked == [f"/{name}.gz"]


def test_what_is_in_the_cache_is_not_asked_for_again(
    server: Server, tmp_path: Path, cache: Path, small_fashion: Path
) -> None:
    copied(small_fashion, store(cache))
    paths = get(None, cache, system=tmp_path)
    assert {path.parent for path in paths.values()} == {store(cache)}
    assert server.asked == []


def test_offline_says_where_a_file_may_be_placed(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(
        DownloadError, match=f"FROSTLINE_OFFLINE forbids .* place the file at {store(cache)}/train-images"
    ):
        get(None, cache, system=tmp_path)


def test_official_addresses_end_in_a_folder() -> None:
    assert len(BASES) >= 2
    assert all(base.startswith("http") and base.endswith("/") for base in BASES)
    assert len(CLASS_NAMES) == 10
    assert str(SYSTEM_FOLDER) == "/usr/share/datasets/fashion-mnist"


def with_a_flipped_pixel(fashion: Splits, folder: Path) -> Path:
    """The published files but for one bit of one training image."""
    copied(Path(fashion.source), folder)
    images = np.array(fashion.train.images)
    images[59_999, 14, 14] ^= 1
    path = folder / "train-images-idx3-ubyte"
    path.with_name(f"{path.name}.gz").unlink(missing_ok=True)
    write_idx(path, images)
    return path


def test_one_flipped_pixel_is_told_or_refused(
    fashion: Splits, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = with_a_flipped_pixel(fashion, tmp_path / "own")
    splits = load(path.parent)
    [line] = [record for record in caplog.records if "not the published files" in record.getMessage()]
    assert (line.levelname, path.name in line.getMessage()) == ("WARNING", True)
    assert (np.asarray(splits.train.images) != np.asarray(fashion.train.images)).sum() == 1
    shutil.move(path.parent, store(cache))
    with pytest.raises(DataError, match=rf"{path.name} is not the published file .*: get it again, or remove it"):
        load(system=tmp_path)


def test_files_of_ones_own_are_told_of_in_one_line(small_fashion: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "frostline"):
        load(small_fashion)
    [line] = [record.getMessage() for record in caplog.records]
    names = ", ".join(part.name for part in FILES.values())
    assert line == f"not the published files of Fashion-MNIST, used anyway: {names} in {small_fashion}"


def test_published_files_are_told_of_in_no_line(fashion: Splits, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "frostline"):
        load(Path(fashion.source))
    assert caplog.records == []
