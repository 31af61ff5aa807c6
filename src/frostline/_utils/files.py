"""Reading files that anybody may have changed since they were written.

Kind and size are checked before a byte is read: a pipe would be waited for, a device never ends. Whatever the content
leads a parser to becomes one error that names the file.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from frostline.errors import FrostlineError, first_line

if TYPE_CHECKING:  # processes that decode images use this module, and start quicker without
    from pydantic import BaseModel
    from torch import Tensor

MIB = 1 << 20
MAX_TEXT_BYTES = 64 * MIB  # of a JSON, TOML or CSV file
MAX_TENSOR_FILE_BYTES = 64 << 30
MAX_HEADER_BYTES = 10 * MIB  # of a safetensors file: a network of a few hundred tensors needs kilobytes

Schema = TypeVar("Schema", bound="BaseModel")


def open_file(path: Path, most: int = MAX_TEXT_BYTES) -> BufferedReader:
    """Open a regular file for reading.

    Parameters
    ----------
    path : Path
        Links are followed.
    most : int
        Bytes that it may have.

    Raises
    ------
    OSError
        When it is a folder, pipe, device or socket (``EISDIR``, ``EINVAL``), is larger (``EFBIG``), or cannot be
        opened. Its ``strerror`` says which, in words.
    """
    try:
        _check_regular(path.stat(), path, most)  # a pipe is not opened: who writes to it would be cut off
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a NUL in the path
        raise OSError(errno.EINVAL, "no path that a file can have", str(path)) from error
    try:
        _check_regular(os.fstat(handle), path, most)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _check_regular(facts: os.stat_result, path: Path, most: int) -> None:
    if stat.S_ISDIR(facts.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    if facts.st_size > most:
        raise OSError(errno.EFBIG, f"it has {facts.st_size:,} bytes, and at most {most:,} are read", str(path))


def read_bytes(path: Path, most: int = MAX_TEXT_BYTES) -> bytes:
    """Return the content of a regular file; see `open_file` for what is refused."""
    with open_file(path, most) as file:
        data = file.read(os.fstat(file.fileno()).st_size + 1)  # no more: as much memory is taken as is asked for
        while len(data) <= most and (more := file.read(MIB)):
            data += more
    if len(data) > most:  # it grew meanwhile, or its size was no truth (/proc)
        raise OSError(errno.EFBIG, f"more than {most:,} bytes came out of it", str(path))
    return data


@contextmanager
def reading(path: Path, error: type[FrostlineError], remedy: str) -> Iterator[None]:
    """Turn whatever reading and parsing a file leads to into one error that names the file.

    Keep the block to the reading itself: every exception in it is taken for the file's fault.

    Parameters
    ----------
    path : Path
        Named in the message.
    error : type of FrostlineError
        What is raised.
    remedy : str
        What the user can do, e.g. ``"run it again from its config.toml"``.

    Raises
    ------
    FrostlineError
        Of the type given; its ``__cause__`` is the original error, e.g. ``FileNotFoundError``.
    """
    try:
        yield
    except FrostlineError:
        raise
    except FileNotFoundError as cause:
        raise error(f"there is no {path}: {remedy}.") from cause
    except OSError as cause:
        raise error(f"{path} cannot be read ({cause.strerror or first_line(cause)}): {remedy}.") from cause
    except Exception as cause:  # parsers raise whatever a damaged file leads them to, MemoryError included
        raise error(f"{path} is damaged ({fault_of(cause)}): {remedy}.") from cause


def fault_of(error: Exception) -> str:
    """Return what a parser or schema found wrong, in a few words."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return first_line(error)
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, fault["loc"]))[:80]
    return f"{where}: {fault['msg']}" if where else str(fault["msg"])


def parse_json(data: bytes) -> Any:
    """Return the value of JSON text.

    Raises
    ------
    ValueError
        When it is no JSON in UTF-8, is nested deeper than 200 levels, or holds NaN. A number beyond float64 becomes
        infinity, which a schema must refuse.
    """
    from pydantic_core import from_json

    return from_json(data, allow_inf_nan=False)


def parse_tensors(data: bytes) -> "dict[str, Tensor]":
    """Return the tensors of a safetensors file's content.

    Raises
    ------
    ValueError, safetensors.SafetensorError
        When it is no whole safetensors file, or its header is larger than any of ours.
    """
    from safetensors.torch import load

    _check_header(data[:8])
    return load(data)


def read_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Read a safetensors file that may be large: its tensors, and its metadata.

    Raises
    ------
    OSError
        See `open_file`.
    ValueError, safetensors.SafetensorError
        When it is no whole safetensors file, or its header is larger than any of ours.
    """
    import safetensors

    with open_file(path, MAX_TENSOR_FILE_BYTES) as file:
        _check_header(file.read(8))
    with safetensors.safe_open(path, framework="pt") as opened:
        return {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata() or {}  # noqa: SIM118


def _check_header(first: bytes) -> None:
    size = int.from_bytes(first, "little")
    if len(first) < 8 or size > MAX_HEADER_BYTES:
        raise ValueError(f"its header claims {size:,} bytes, and at most {MAX_HEADER_BYTES:,} are read")


def fit_schema(schema: type[Schema], data: str | bytes, path: Path, error: type[FrostlineError], remedy: str) -> Schema:
    """Return what JSON text says; what the schema refuses is the file's fault, and nothing else.

    Parameters
    ----------
    schema : type of BaseModel
    data : str or bytes
        The text.
    path, error, remedy
        As in `reading`.

    Raises
    ------
    FrostlineError
        Of the type given. Other errors in a validator are defects of ours, and stay what they are.
    """
    from pydantic import ValidationError

    try:
        return schema.model_validate_json(data)
    except ValidationError as cause:
        raise error(f"{path} is damaged ({fault_of(cause)}): {remedy}.") from cause


def read_json(path: Path, schema: type[Schema], error: type[FrostlineError], remedy: str) -> Schema:
    """Read a JSON file that must fit a schema; see `reading` for what is raised."""
    with reading(path, error, remedy):
        data = read_bytes(path)
    return fit_schema(schema, data, path, error, remedy)
