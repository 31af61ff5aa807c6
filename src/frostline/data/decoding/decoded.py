"""Images that were decoded while they were scanned, for a frozen pass of the same process."""

import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frostline._utils.progress import log
from frostline.data.decoding.decode import Square
from frostline.data.decoding.target import WHOLE, Target

MAX_BYTES = 4 << 30  # of the file; further images are decoded again
FREE_BYTES = 2 << 30  # that are left to others on the disk


class _Entry(NamedTuple):
    offset: int
    shape: tuple[int, ...]
    size: tuple[int, int]  # width and height of the image


class DecodedImages:
    """The squares of large image files, in a temporary file that has no name and goes with the process.

    Decoding takes most of the time that a photograph needs: what the scan has decoded, the frozen pass need not decode
    again. An image that is not here is decoded as usual. Thread-safe; a copy, as in another process, is empty.

    Parameters
    ----------
    folder : Path
        On the disk for the temporary file; created if missing.
    target : Target
        The network's input.
    """

    def __init__(self, folder: Path, target: Target) -> None:
        self.target = target
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._entries: dict[bytes, _Entry] = {}
        self._end = 0
        self._full = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> tuple[Any, ...]:
        return DecodedImages, (self._folder, self.target)

    def add(self, row_id: bytes, square: Square) -> None:
        """Keep the square of an image, unless there is no room for it."""
        data = square.pixels.tobytes()
        with self._lock:
            if self._full or row_id in self._entries:
                return
            try:
                self._write(data)
            except OSError as error:
                self._full = True
                log.debug("images are decoded again for the frozen pass: %s", error)
                return
            self._entries[row_id] = _Entry(self._end, square.pixels.shape, square.size)
            self._end += len(data)

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  (read as long as the images are)
            weakref.finalize(self, self._file.close)
        if self._end + len(data) > MAX_BYTES or shutil.disk_usage(self._folder).free < FREE_BYTES:
            raise OSError("no room on the disk of the cache")
        self._file.seek(self._end)
        self._file.write(data)

    def get(self, row_id: bytes, target: Target) -> NDArray[np.uint8] | None:
        """Return what `frostline.data.decoding.decode.decode_image` would, or ``None`` if it is not here."""
        entry = self._entries.get(row_id)
        framed = target._replace(fit="pad") if target.fit == WHOLE else target  # the padding can be cut off again
        if entry is None or self._file is None or framed.fit != self.target.fit:
            return None
        if target.factors(*entry.size) != self.target.factors(*entry.size):
            return None
        with self._lock:
            self._file.seek(entry.offset)
            data = self._file.read(int(np.prod(entry.shape)))
        pixels = np.frombuffer(data, np.uint8).reshape(entry.shape)
        if target.fit != WHOLE:
            return pixels
        factor, _ = self.target.factors(*entry.size)
        width, height = (-(-length // factor) for length in entry.size)
        left, top = (len(pixels) - width) // 2, (len(pixels) - height) // 2
        return pixels[top : top + height, left : left + width]
