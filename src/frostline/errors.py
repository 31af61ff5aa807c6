"""The errors that users can cause, and the conversion of system errors to them.

FrostlineError
├── ConfigError            an invalid option, name or configuration file
│   └── UnknownNameError   an unknown name, with the nearest known one
├── DataError              a data set or image that is missing, damaged or invalid
│   └── InputError         invalid input of a scikit-learn estimator
├── DownloadError          a file that could not be downloaded
├── WeightsError           a weight file that does not fit the network
├── StorageError           a disk that is full, read-only or unavailable
├── RunError               a run folder that is missing, in use, unfinished or does not match
├── DivergedError          a training whose loss is no longer finite
└── ExportError            a model that cannot be exported, or predicts differently once exported

A message states on one line what was expected, what was found and what to do. The command line prints it
without a traceback and exits with 2.
"""

import difflib
import errno
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from frostline._utils.text import printable


class FrostlineError(Exception):
    """Base of all errors caused by user input or the environment; its message is one printable line."""

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(FrostlineError):
    """An option, a name or a configuration file is invalid."""


class UnknownNameError(ConfigError):
    """A name is unknown.

    Parameters
    ----------
    kind : str
        What the name stands for, e.g. ``"data set"``.
    name : str
        The unknown name.
    allowed : iterable of str
        Known names; the nearest one is suggested.
    otherwise : str
        What else is allowed.
    unlisted : iterable of str
        More known names, too many to list; one is suggested if no other is near.
    """

    def __init__(
        self, kind: str, name: str, allowed: Iterable[str], otherwise: str = "", unlisted: Iterable[str] = ()
    ) -> None:
        self.name = name
        self.allowed = list(allowed)
        hint = did_you_mean(name, self.allowed) or did_you_mean(name, unlisted)
        super().__init__(f"unknown {kind} '{name}': expected one of {', '.join(self.allowed)}{otherwise}.{hint}")


class DataError(FrostlineError):
    """A data set or image is missing, damaged or invalid."""


class InputError(DataError, ValueError):
    """Invalid input of a scikit-learn estimator; also a ``ValueError``, as scikit-learn expects."""


class DownloadError(FrostlineError):
    """A file could not be downloaded from any address."""


class WeightsError(FrostlineError):
    """A weight file is invalid or does not fit the network."""


class StorageError(FrostlineError):
    """The disk is full, read-only or unavailable."""


class RunError(FrostlineError):
    """A run folder is missing, in use, unfinished or does not match the request."""


class DivergedError(FrostlineError):
    """The loss of a training is no longer finite."""


class ExportError(FrostlineError):
    """A model cannot be exported, or its exported file predicts differently."""


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest allowed name, or an empty string."""
    near = difflib.get_close_matches(name.lower(), list(allowed), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def require(user: str, extra: str, *modules: str, error: type[FrostlineError] = ConfigError) -> None:
    """Import optional modules, so that a missing package is refused before any work begins.

    Parameters
    ----------
    user : str
        What needs them, e.g. ``"explain"``.
    extra : str
        The extra of Frostline that installs them.

    Raises
    ------
    FrostlineError
        Of type ``error``; names the first missing package and the extra.
    """
    for module in modules:
        try:
            import_module(module)
        except ImportError as cause:
            package = (cause.name or module).partition(".")[0]
            raise missing_package(user, package, extra, error) from cause


def missing_package(user: str, package: str, extra: str, error: type[FrostlineError] = ConfigError) -> FrostlineError:
    """Return the error for a missing optional package; see `require`."""
    return error(f"{user} needs {package}, which is not installed: pip install 'frostline[{extra}]'.")


_SYSTEM_REASONS = {  # the system or the disk is at fault
    errno.ENOSPC: "the disk is full: free some space or choose another place",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another place",
    errno.EFBIG: "the file would be larger than the system allows here: choose another place",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.EIO: "the disk reported an input/output error: check the disk or choose another place",
    errno.ENOMEM: "the system is out of memory: close other programs",
    errno.EMFILE: "too many files are open: raise the limit (`ulimit -n`)",
    errno.ENFILE: "too many files are open on this system: close other programs",
}
_FILE_REASONS = {  # the user's error only if a file is named
    errno.EACCES: "permission denied: choose a place that you may write to",
    errno.EPERM: "operation not permitted: choose a place that you may write to",
    errno.ENOTDIR: "a part of that path is a file, not a folder: choose another place",
    errno.EEXIST: "a file or folder of that name already exists: choose another place",
    errno.EISDIR: "it is a folder, and a file was expected: choose another name",
    errno.ENOENT: "it does not exist, or no longer: check the path",
    errno.ENAMETOOLONG: "the name is too long for this file system: choose a shorter one",
    errno.ELOOP: "its symbolic links lead in a circle: remove one",
    errno.ENOTEMPTY: "the folder is not empty: choose another place",
    errno.EBUSY: "it is in use by the system or another program: try again, or choose another place",
    errno.ETXTBSY: "it is a running program: choose another name",
    errno.ESTALE: "it is gone from the network drive: mount the drive again",
    errno.ENXIO: "it is not a file that can be read or written: choose another",
    errno.ENODEV: "its device is gone: check the path",
    errno.EINVAL: "the system does not accept this path or file: choose another place",
    errno.EILSEQ: "the file system does not accept this name: choose another",
}
_REASONS = _SYSTEM_REASONS | _FILE_REASONS


def storage_error(error: OSError, path: Path | str | None = None, remedy: str = "") -> StorageError:
    """Turn an ``OSError`` into one line that names the path, the cause and what to do.

    Parameters
    ----------
    error : OSError
        The system's error.
    path : path, optional
        What was being written or read; the error's own file name when left out.
    remedy : str
        The option that chooses another place, e.g. ``"--cache-dir"``.
    """
    where = path if path is not None else _file_of(error) or "a file (not named by the system)"
    how = f" ({remedy})" if remedy else ""
    return StorageError(f"cannot use {where}: {_reason(error)}{how}. Existing files were not modified.")


def stream_error(error: OSError, stream: str) -> StorageError:
    """Turn an ``OSError`` of writing to a stream, e.g. ``"standard output"``, into one line that names it."""
    return StorageError(f"cannot write to {stream}: {_reason(error)}.")


def is_disk_error(error: OSError) -> bool:
    """Whether the error concerns the disk, the system or a named file; otherwise it is a defect of Frostline."""
    return error.errno in _SYSTEM_REASONS or (error.errno in _FILE_REASONS and _file_of(error) is not None)


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0, error.strerror or str(error))


def _file_of(error: OSError) -> str | None:
    named = error.filename if error.filename is not None else error.filename2
    return named if isinstance(named, str) and named else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, numpy or torch ran out of memory."""
    words = str(error)
    return isinstance(error, MemoryError) or "out of memory" in words or "can't allocate memory" in words


def first_line(error: BaseException) -> str:
    """Return the beginning of another library's message, short enough to quote."""
    return str(error).partition("\n")[0][:120] or type(error).__name__
