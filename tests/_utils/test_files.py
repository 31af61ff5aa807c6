"""Reading untrusted files: only regular files are read, and parser errors name the file."""

import os
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from frostline._utils.files import parse_json, read_bytes, read_json, reading
from frostline.errors import RunError


class Record(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    accuracy: float


def test_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        read_bytes(tmp_path / "pipe")


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/mem", "/", "/nope/\0", "/" + "a" * 300])
def test_anything_but_a_file_is_one_error_that_names_it(path: str) -> None:
    with (
        pytest.raises(RunError, match=r"cannot be read .*: run it again"),
        reading(Path(path), RunError, "run it again"),
    ):
        read_bytes(Path(path))


def test_file_larger_than_allowed_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(OSError, match="11 bytes, and at most 10"):
        read_bytes(tmp_path / "large", 10)


def test_file_of_unknown_size_is_limited_too() -> None:
    with pytest.raises(OSError, match="more than 10 bytes"):
        read_bytes(Path("/proc/self/maps"), 10)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a": NaN}', b"\xff", b"", b"[1" + b"0" * 5000 + b"]"])
def test_malformed_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match="line 1"):
        parse_json(text)


@pytest.mark.parametrize("text", [b'{"accuracy": 1e999}', b'{"accuracy": "high"}', b"{}", b"[" * 100_000])
def test_json_that_does_not_match_the_schema_names_the_file(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes(text)
    with pytest.raises(RunError, match=r"metrics\.json is damaged"):
        read_json(path, Record, RunError, "run it again")


def test_missing_file_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no") as caught:
        read_json(tmp_path / "metrics.json", Record, RunError, "run it again")
    assert isinstance(caught.value.__cause__, FileNotFoundError)
