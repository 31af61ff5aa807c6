"""IDX files: read whole, or refused with what is wrong."""

import gzip
import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frostline.data.fashion_mnist import MAX_BYTES, read_idx, read_idx_and_md5
from frostline.errors import DataError
from tests.conftest import idx_bytes, write_idx

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
        f"{path} holds {size - missing:,} of the {size:,} bytes its header (20, 28, 28) promises: get the file again."
    )


@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
def test_truncated_gz_is_refused(path: Path, share: float) -> None:
    whole = gzip.compress(idx_bytes(IMAGES))
    path.write_bytes(whole[: max(2, int(len(whole) * share))])
    with pytest.raises(DataError, match=f"^{path} is damaged or cut short"):
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
    with pytest.raises(DataError, match=f"^{path} is damaged or cut short"):
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
        f"{path} is no IDX file of 3-dimensional bytes: expected it to begin with 00 00 08 03, got {got}."
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
    with pytest.raises(DataError, match=r"holds more than the 15,680 bytes its header \(20, 28, 28\) promises"):
        read_idx(tmp_path / name, 3)


BOMB = """
import resource, sys
from pathlib import Path
from frostline.errors import DataError
from frostline.data.fashion_mnist import read_idx
resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))
try:
    read_idx(Path(sys.argv[1]), 1)
except DataError as error:
    print(error)
"""


def test_gzip_bomb_is_not_unpacked_further_than_its_header(path: Path) -> None:
    """A megabyte that unpacks to a gigabyte, behind a header that promises twenty bytes."""
    block = gzip.compress(bytes(64 << 20))
    path.write_bytes(gzip.compress(idx_bytes(LABELS)) + block * 16)
    done = subprocess.run([sys.executable, "-c", BOMB, path], capture_output=True, text=True, check=True)
    assert done.stdout == (f"{path} holds more than the 20 bytes its header (20,) promises: get the file again.\n")


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
    with pytest.raises(DataError, match="holds more than the 20 bytes"):
        read_idx(path, 1)


def test_the_digest_is_that_of_what_is_unpacked(path: Path) -> None:
    for data in (idx_bytes(IMAGES), gzip.compress(idx_bytes(IMAGES))):
        path.write_bytes(data)
        assert read_idx_and_md5(path, 3)[1] == hashlib.md5(idx_bytes(IMAGES)).hexdigest()
