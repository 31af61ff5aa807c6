"""Request bodies: multipart, JSON or one raw file, read in memory within the limits and parsed to named images."""

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import ValidationError
from python_multipart import multipart
from python_multipart.exceptions import FormParserError
from starlette.requests import Request

from frostline.serve.limits import MIB, Limits
from frostline.serve.metrics import Metrics
from frostline.serve.schemas import Images, ProblemError, bad_image, busy, invalid

FIELD = "images"
Upload = tuple[str, bytes | ProblemError]  # the name of an image, and its file or problem
MAX_NAME = 200
MAX_VALUES = 4096  # in a JSON body


class ClientGoneError(Exception):
    """The client has closed the connection."""


@dataclass
class Body:
    """The body of one request; ``size`` bytes count as held until the answer, also after `take`."""

    size: int = 0
    data: bytearray = field(default_factory=bytearray)

    def take(self) -> bytes:
        """Return the complete body, and keep no other copy."""
        body = bytes(self.data)
        self.data = bytearray()
        return body


class BodyReader:
    """Reads request bodies, and limits the memory that all of them use together."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits, self._metrics, self._held = limits, metrics, 0

    @contextmanager
    def open(self) -> Iterator[Body]:
        """Return an empty body, whose memory is released at the end."""
        body = Body()
        try:
            yield body
        finally:
            self._hold(-body.size)

    def _hold(self, count: int) -> None:
        if count > 0 and self._held + count > self._limits.held_bytes:
            raise busy("too many uploads at the same time: try again in a moment.")
        self._held += count
        self._metrics.held.set(self._held)

    async def read(self, request: Request, body: Body) -> None:
        """Read the body of a request; raises `ClientGoneError`, or a 413 or 503 problem."""
        most = self._limits.body_bytes
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > most:
            raise _too_large(most)
        more = True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk = message.get("body", b"")
            if body.size + len(chunk) > most:
                raise _too_large(most)
            self._hold(len(chunk))
            body.size += len(chunk)
            body.data += chunk
            more = message.get("more_body", False)


def _too_large(most: int) -> ProblemError:
    return ProblemError(
        413, "too-large", f"a request may have at most {most // MIB} MiB: send fewer or smaller images at a time."
    )


def parse_images(body: bytes, content_type: str, limits: Limits) -> list[Upload]:
    """Return the images of a body, each with its file name (never a path); raises 400, 415 and 422 problems."""
    kind, options = multipart.parse_options_header(content_type)
    if kind == b"multipart/form-data":
        images = _from_multipart(body, options.get(b"boundary", b""), limits.images)
    elif kind == b"application/json":
        images = _from_json(body, limits.images)
    elif kind == b"application/octet-stream" or kind.startswith(b"image/"):
        images = [(_default_name(0), body)]
    else:
        raise ProblemError(
            415,
            "unknown-body",
            "expected multipart/form-data with files, application/json with base64 strings, or one file as image/* or "
            "application/octet-stream.",
        )
    if not 1 <= len(images) <= limits.images:
        raise _count_problem(limits.images)
    return images


def _count_problem(most: int) -> ProblemError:
    return ProblemError(422, "image-count", f"expected 1 to {most} images in the field '{FIELD}'.")


def _from_json(body: bytes, most: int) -> list[Upload]:
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > MAX_VALUES:  # parsing would exhaust the memory
        raise _count_problem(most)
    try:
        texts = Images.model_validate_json(body).images
    except ValidationError as error:
        raise invalid([dict(e) for e in error.errors(include_url=False, include_input=False)]) from error
    return [(_default_name(number), _decode_base64(text)) for number, text in enumerate(texts[: most + 1])]


def _decode_base64(text: str) -> bytes | ProblemError:
    """Decode base64, plain or in a ``data:`` URI."""
    if text[:5].lower() == "data:":
        head, _, text = text.partition(",")
        kind, *options = head[5:].lower().split(";")
        if "base64" not in options or not (kind in ("", "application/octet-stream") or kind.startswith("image/")):
            return bad_image("is not a data: URI of an image: expected data:image/...;base64, and the file in base64.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return bad_image("is not valid base64: expected a file in base64, without line breaks.")


def _from_multipart(body: bytes, boundary: bytes, most: int) -> list[Upload]:
    form = _Form(most)
    try:
        if not boundary:
            raise FormParserError("no boundary")
        parser = multipart.MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
        if not form.complete:
            raise FormParserError("no end")
    except (FormParserError, ValueError) as error:
        raise ProblemError(400, "damaged-body", "the multipart body is damaged or incomplete.") from error
    return form.images


class _Form:
    """Collects the parts of a multipart body."""

    def __init__(self, most: int) -> None:
        self.images: list[Upload] = []
        self.complete = False
        self._most = most
        self._header, self._value = b"", b""
        self._disposition = b""
        self._chunks: list[bytes] = []

    def callbacks(self) -> "multipart.MultipartCallbacks":
        return {
            "on_part_begin": self._on_begin,
            "on_header_field": self._on_header_name,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_begin(self) -> None:
        self._disposition, self._chunks = b"", []

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def _on_part_end(self) -> None:
        _, options = multipart.parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name != FIELD:
            errors = [{"where": "field", "detail": f"expected files in fields named '{FIELD}'."}]
            raise ProblemError(422, "invalid", "the form has an unknown field: see errors.", errors)
        if len(self.images) == self._most:
            raise _count_problem(self._most)
        self.images.append((_plain_name(options.get(b"filename", b""), len(self.images)), b"".join(self._chunks)))

    def _on_end(self) -> None:
        self.complete = True


def _plain_name(name: bytes, number: int) -> str:
    """Return the name of a file without folders and control characters."""
    last = name.decode("utf-8", "replace").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable())[:MAX_NAME] or _default_name(number)


def _default_name(number: int) -> str:
    return f"image {number + 1}"
