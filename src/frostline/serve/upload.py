"""A request's body to named image files: multipart, JSON or one raw file, in memory, within the limits."""

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
Upload = tuple[str, bytes | ProblemError]  # a name, and the file or why there is none
LONGEST_NAME = 200
MOST_VALUES = 4096  # in a JSON body


class GoneError(Exception):
    """The client has closed the connection."""


class Bodies:
    """Reads bodies, and keeps count of the bytes that are held in memory for all of them."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits, self._metrics, self._held = limits, metrics, 0

    @contextmanager
    def counting(self) -> Iterator["Body"]:
        """Open a count for one request; what it holds is free again at the end."""
        body = Body()
        try:
            yield body
        finally:
            self.hold(-body.size)

    def hold(self, count: int) -> None:
        """Count bytes that are held, or, negative, free again.

        Raises
        ------
        ProblemError
            503, when all requests together hold too much.
        """
        if count > 0 and self._held + count > self._limits.held_bytes:
            raise busy("too many uploads at the same time: try again in a moment.")
        self._held += count
        self._metrics.held.set(self._held)

    async def read(self, request: Request, body: "Body") -> None:
        """Read a request's body.

        Raises
        ------
        ProblemError
            413, 408 or 503.
        GoneError
        """
        most = self._limits.body_bytes
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > most:
            raise too_large(most)
        more = True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise GoneError
            part = message.get("body", b"")
            if body.size + len(part) > most:
                raise too_large(most)
            self.hold(len(part))
            body.add(part)
            more = message.get("more_body", False)


@dataclass
class Body:
    """The bytes of one request: so many are held until it is answered, as a body or as the files in it."""

    size: int = 0
    data: bytearray = field(default_factory=bytearray)

    def add(self, part: bytes) -> None:
        """Add what came next."""
        self.size += len(part)
        self.data += part

    def take(self) -> bytes:
        """Return the whole body, and keep no other copy."""
        whole = bytes(self.data)
        self.data = bytearray()
        return whole


def too_large(most: int) -> ProblemError:
    """Return the problem of a body that is too large."""
    return ProblemError(
        413, "too-large", f"a request may have {most // MIB} MiB: send fewer or smaller images at a time."
    )


def images_of(body: bytes, content_type: str, limits: Limits) -> list[Upload]:
    """Return the images of a body, each with the name it came with (never a path).

    Raises
    ------
    ProblemError
        400, 413, 415 or 422.
    """
    kind, options = multipart.parse_options_header(content_type)
    if kind == b"multipart/form-data":
        found = _from_multipart(body, options.get(b"boundary", b""), limits.images)
    elif kind == b"application/json":
        found = _from_json(body, limits.images)
    elif kind == b"application/octet-stream" or kind.startswith(b"image/"):
        found = [(_default_name(0), body)]
    else:
        raise ProblemError(
            415,
            "unknown-body",
            "expected multipart/form-data with files, application/json with base64 strings, or one file as image/* or "
            "application/octet-stream.",
        )
    if not 1 <= len(found) <= limits.images:
        raise _count_problem(limits.images)
    return found


def _count_problem(most: int) -> ProblemError:
    return ProblemError(422, "image-count", f"expected 1 to {most} images in the field '{FIELD}'.")


def _from_json(body: bytes, most: int) -> list[Upload]:
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > MOST_VALUES:  # parsed, they would fill the memory
        raise _count_problem(most)
    try:
        texts = Images.model_validate_json(body).images
    except ValidationError as error:
        raise invalid([dict(e) for e in error.errors(include_url=False, include_input=False)]) from error
    return [(_default_name(number), _decoded(text)) for number, text in enumerate(texts[: most + 1])]


def _decoded(text: str) -> bytes | ProblemError:
    """Return what base64 stands for, in a ``data:`` URI or plain."""
    if text[:5].lower() == "data:":
        head, _, text = text.partition(",")
        kind, *options = head[5:].lower().split(";")
        if "base64" not in options or not (kind in ("", "application/octet-stream") or kind.startswith("image/")):
            return bad_image("is no data: URI of an image: expected data:image/...;base64, and the file in base64.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return bad_image("is no base64: expected a file in base64, without line breaks.")


def _from_multipart(body: bytes, boundary: bytes, most: int) -> list[Upload]:
    form = _Form(most)
    try:
        if not boundary:
            raise FormParserError("no boundary")
        parser = multipart.MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise ProblemError(400, "damaged-body", "the multipart body is damaged or not complete.") from error
    if not form.whole:
        raise ProblemError(400, "damaged-body", "the multipart body is damaged or not complete.")
    return form.found


class _Form:
    """Collects the parts of a multipart body as the parser meets them."""

    def __init__(self, most: int) -> None:
        self.found: list[Upload] = []
        self.whole = False
        self._most = most
        self._header, self._value = b"", b""
        self._disposition = b""
        self._parts: list[bytes] = []

    def callbacks(self) -> "multipart.MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_part_data": self._on_data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._disposition, self._parts = b"", []

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._parts.append(data[start:end])

    def _end(self) -> None:
        _, options = multipart.parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name != FIELD:
            wrong = [{"where": "field", "detail": f"expected files in fields named '{FIELD}'."}]
            raise ProblemError(422, "invalid", "the form has a field that is not known: see errors.", wrong)
        if len(self.found) == self._most:
            raise _count_problem(self._most)
        self.found.append((_plain_name(options.get(b"filename", b""), len(self.found)), b"".join(self._parts)))

    def _finish(self) -> None:
        self.whole = True


def _plain_name(name: bytes, number: int) -> str:
    """Return a file's own name: a label for the answer, without folders and control characters."""
    last = name.decode("utf-8", "replace").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable())[:LONGEST_NAME] or _default_name(number)


def _default_name(number: int) -> str:
    return f"image {number + 1}"
