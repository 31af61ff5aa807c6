"""Digests are stable, and differ for different content."""

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pytest

from frostline._utils.hashing import (
    digest_arrays,
    digest_file,
    digest_json,
    row_id_of_bytes,
    row_ids_of_pixels,
    sha256_file,
)


def test_json_digest_ignores_key_order() -> None:
    assert digest_json({"a": 1, "b": [2, "ä"]}) == digest_json({"b": [2, "ä"], "a": 1})


def test_json_digest_is_stable() -> None:
    text = b'{"a":1,"b":[2,"x"]}'
    assert digest_json({"b": [2, "x"], "a": 1}) == hashlib.blake2b(text, digest_size=16).hexdigest()


@pytest.mark.parametrize("other", [{"a": 2}, {"b": 1}, {"a": "1"}, {"a": [1]}, {"a": 1, "b": None}])
def test_json_digest_depends_on_every_value(other: dict[str, object]) -> None:
    assert digest_json({"a": 1}) != digest_json(other)


def test_file_digests_equal_those_of_coreutils(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(np.random.default_rng(1).bytes(300_000))
    for ours, command in ((digest_file(path), ["b2sum", "-l", "128"]), (sha256_file(path), ["sha256sum"])):
        theirs = subprocess.run([*command, path], capture_output=True, text=True, check=True).stdout.split()[0]
        assert ours == theirs


def test_row_ids_depend_on_pixels_alone() -> None:
    images = np.random.default_rng(2).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    ids = row_ids_of_pixels(images)
    assert len(set(ids)) == 5
    assert {len(row) for row in ids} == {16}
    assert row_ids_of_pixels(images[::-1]) == ids[::-1]
    assert row_ids_of_pixels(np.asfortranarray(images)) == ids


@pytest.mark.parametrize("shape", [(1, 4, 6), (1, 2, 12), (1, 2, 4, 3)])
def test_row_ids_of_the_same_bytes_in_another_shape_differ(shape: tuple[int, ...]) -> None:
    flat = np.arange(24, dtype=np.uint8)
    assert row_ids_of_pixels(flat.reshape(1, 6, 4)) != row_ids_of_pixels(flat.reshape(shape))


def test_row_id_of_a_file_is_not_that_of_equal_pixels() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(1, 6, 4)
    assert row_id_of_bytes(pixels.tobytes()) != row_ids_of_pixels(pixels)[0]
    assert row_id_of_bytes(b"a") == row_id_of_bytes(bytes([97])) != row_id_of_bytes(b"b")


def test_array_digest_depends_on_name_type_shape_order_and_values() -> None:
    zeros = np.zeros((2, 3), np.float32)
    digests = [
        digest_arrays(arrays)
        for arrays in (
            [("w", zeros)],
            [("v", zeros)],
            [("w", zeros.astype(np.int32))],
            [("w", zeros.reshape(3, 2))],
            [("w", zeros + 1)],
            [("w", zeros), ("b", zeros)],
            [("b", zeros), ("w", zeros)],
        )
    ]
    assert len(set(digests)) == len(digests)
    assert digest_arrays([("w", np.ascontiguousarray(zeros.T).T)]) == digests[0]


def test_no_images_have_no_row_ids() -> None:
    assert row_ids_of_pixels(np.empty((0, 28, 28), np.uint8)) == []
