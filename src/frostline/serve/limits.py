"""Limits of a server: bytes, images, pixels, seconds, connections and queue lengths."""

from dataclasses import asdict, dataclass
from importlib.util import find_spec

from PIL import features

from frostline._utils.machine import cores

MIB = 1 << 20
MODERN = {"AVIF": features.check("avif"), "HEIF": find_spec("pillow_heif") is not None}
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", *(name for name, supported in MODERN.items() if supported))

# Batches computed at the same time, each with its share of the cores: two small batches side by side use two cores
# better than one batch that uses both, and one more batch is ready when another is done (bench/serve.py).
SHARES = min(4, cores())
BATCHES = SHARES + 1
THREADS = cores() // SHARES


@dataclass(frozen=True)
class Limits:
    """Limits of one server; clients read the `public` ones from ``GET /v1/model``."""

    images: int = 32  # in a request
    body_bytes: int = 32 * MIB
    held_bytes: int = 256 * MIB  # of all bodies that are being read or answered
    pixels: int = 50_000_000  # of an image, according to its header
    header_bytes: int = 64 << 10
    header_seconds: float = 10.0  # from the connection, or the last answer, to a complete request header
    body_seconds: float = 30.0  # from the header to the last byte of the body
    answer_seconds: float = 30.0  # from there to the answer
    linger_seconds: float = 2.0  # for which a refused body is still read, so that the client receives the answer
    drain_seconds: float = 30.0  # from SIGTERM to the end
    connections: int = 256
    queue: int = 256  # admitted images that are not answered yet
    batch: int = 32  # images in a batch
    min_batch: int = 8  # images that a batch waits for once this many are admitted
    wait_seconds: float = 0.005  # for which it waits at most
    costly_queue: int = 32  # costly images (`frostline.data.decoding.file_checks`), which are decoded one at a time
    costly_seconds: float = 10.0  # for which one of them may wait before its request is answered without it
    pixel_bytes: int = 256 * MIB  # of all decoded images that wait for the network

    def public(self) -> dict[str, int | float]:
        """Return the limits that a client must respect."""
        names = ("images", "body_bytes", "pixels", "body_seconds", "answer_seconds")
        return {name: asdict(self)[name] for name in names}
