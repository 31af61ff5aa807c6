"""Safe reading of untrusted files.

The file type and size are checked before reading, since pipes block and devices never end. Every error of a parser
becomes one error that names the file.
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

if TYPE_CHECKING:  # decoding processes import this module: keep their start fast
    from pydantic import BaseModel
    from torch import Tensor

MIB = 1 << 20
MAX_TEXT_BYTES = 64 * MIB  # of a JSON, TOML or CSV file
MAX_TENSOR_FILE_BYTES = 64 << 30
MAX_HEADER_BYTES = 10 * MIB  # of a safetensors file: a network of a few hundred tensors needs kilobytes

Schema = TypeVar("Schema", bound="BaseModel")


def open_file(path: Path, most: int = MAX_TEXT_BYTES) -> BufferedReader:
    """Open a regular file of at most ``most`` bytes for reading; links are followed.

    Raises
    ------
    OSError
        If it is a folder, pipe, device or socket (``EISDIR``, ``EINVAL``), too large (``EFBIG``), or cannot be opened.
    """
    try:
        _check_regular(path.stat(), path, most)  # before opening: opening and closing a pipe disturbs its writer
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
    """Return the content of a regular file; raises as `open_file`."""
    with open_file(path, most) as file:
        data = file.read(os.fstat(file.fileno()).st_size + 1)  # a larger request would allocate more memory
        while len(data) <= most and (more := file.read(MIB)):
            data += more
    if len(data) > most:  # it grew meanwhile, or reports a wrong size (/proc)
        raise OSError(errno.EFBIG, f"more than {most:,} bytes came out of it", str(path))
    return data


@contextmanager
def reading(path: Path, error: type[FrostlineError], remedy: str) -> Iterator[None]:
    """Turn every exception of reading and parsing a file into one error that names the file.

    Keep the block short: every exception in it is attributed to the file. ``remedy`` tells the user what to do, e.g.
    ``"run it again from its config.toml"``.

    Raises
    ------
    FrostlineError
        Of type ``error``; its ``__cause__`` is the original exception, e.g. ``FileNotFoundError``.
    """
    try:
        yield
    except FrostlineError:
        raise
    except FileNotFoundError as cause:
        raise error(f"there is no {path}: {remedy}.") from cause
    except OSError as cause:
        raise error(f"{path} cannot be read ({cause.strerror or first_line(cause)}): {remedy}.") from cause
    except Exception as cause:  # parsers raise anything on a damaged file, even MemoryError
        raise error(f"{path} is damaged ({fault_of(cause)}): {remedy}.") from cause


def fault_of(error: Exception) -> str:
    """Return the problem that a parser or schema found, in a few words."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return first_line(error)
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, fault["loc"]))[:80]
    return f"{where}: {fault['msg']}" if where else str(fault["msg"])


def parse_json(data: bytes) -> Any:
    """Parse JSON; a number beyond float64 becomes infinity, which a schema must refuse.

    Raises
    ------
    ValueError
        If it is not JSON in UTF-8, is nested deeper than 200 levels, or contains NaN.
    """
    from pydantic_core import from_json

    return from_json(data, allow_inf_nan=False)


def parse_tensors(data: bytes) -> "dict[str, Tensor]":
    """Return the tensors of a safetensors file's content.

    Raises
    ------
    ValueError, safetensors.SafetensorError
        If it is not a complete safetensors file, or its header is larger than 10 MiB.
    """
    from safetensors.torch import load

    _check_header(data[:8])
    return load(data)


def read_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Read the tensors and metadata of a safetensors file that may be large.

    Raises
    ------
    OSError
        As `open_file`.
    ValueError, safetensors.SafetensorError
        If it is not a complete safetensors file, or its header is larger than 10 MiB.
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
    """Validate JSON text against a schema; the other parameters are those of `reading`.

    Raises
    ------
    FrostlineError
        Of type ``error``, for validation errors only: other exceptions in a validator are defects.
    """
    from pydantic import ValidationError

    try:
        return schema.model_validate_json(data)
    except ValidationError as cause:
        raise error(f"{path} is damaged ({fault_of(cause)}): {remedy}.") from cause


def read_json(path: Path, schema: type[Schema], error: type[FrostlineError], remedy: str) -> Schema:
    """Read a JSON file and validate it against a schema; raises as `reading`."""
    with reading(path, error, remedy):
        data = read_bytes(path)
    return fit_schema(schema, data, path, error, remedy)
