"""What the server takes at most: of bytes, images, pixels, seconds, connections and waiting images."""

from dataclasses import asdict, dataclass
from importlib.util import find_spec

from PIL import features

MIB = 1 << 20
MODERN = {"AVIF": features.check("avif"), "HEIF": find_spec("pillow_heif") is not None}
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", *(name for name, here in MODERN.items() if here))


@dataclass(frozen=True)
class Limits:
    """The bounds of one server; the page and programs read them from ``GET /v1/model``."""

    images: int = 32  # in a request
    body_bytes: int = 32 * MIB
    held_bytes: int = 256 * MIB  # of all bodies that are being read or answered
    pixels: int = 50_000_000  # of an image, as it claims
    header_bytes: int = 64 << 10
    header_seconds: float = 10.0  # from the connection, or the last answer, to a whole request header
    body_seconds: float = 30.0  # from the header to the last byte of the body
    answer_seconds: float = 30.0  # from there to the answer
    linger_seconds: float = 2.0  # that a refused body is read on, so that its sender sees why
    drain_seconds: float = 30.0  # from SIGTERM to the end
    connections: int = 256
    queue: int = 256  # images that were taken in and not yet answered
    batch: int = 32  # images in a batch
    enough: int = 8  # images that a batch waits for, once so many were taken in
    wait_seconds: float = 0.005  # that it waits at most
    costly_queue: int = (
        32  # costly images that wait to be decoded, one at a time; see `frostline.data.decoding.file_checks`
    )
    costly_seconds: float = 10.0  # that one of them may wait, before the rest of its request is answered without it
    square_bytes: int = 256 * MIB  # of all decoded images that wait for the network

    def public(self) -> dict[str, int | float]:
        """Return what a client must keep to."""
        names = ("images", "body_bytes", "pixels", "body_seconds", "answer_seconds")
        return {name: asdict(self)[name] for name in names}
