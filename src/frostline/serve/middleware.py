"""Authentication, host check, security headers and request metrics."""

import asyncio
import hashlib
import hmac
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from frostline._utils.files import MIB, read_bytes
from frostline._utils.progress import log
from frostline.errors import ConfigError
from frostline.serve.limits import Limits
from frostline.serve.metrics import Metrics
from frostline.serve.schemas import ProblemError

MIN_KEY = 16  # characters


class Keys:
    """API keys; only their digests are kept."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    def accept(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request's headers have a valid ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``."""
        key = b""
        for name, value in headers:
            if name == b"x-api-key":
                key = value.strip()
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                key = value[7:].strip()
        digest = _digest(key)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]  # all of them: constant time
        return any(matches)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()  # equal lengths, so that the comparison takes the same time


def read_keys(path: Path) -> Keys:
    """Read one key per line; empty lines and those that begin with ``#`` are skipped.

    Raises
    ------
    ConfigError
        When there is none, or one has fewer than 16 characters or anything but visible ASCII, as headers require.
    """
    try:
        lines = [line.strip() for line in read_bytes(path, MIB).decode("ascii").splitlines()]
    except OSError as error:
        raise ConfigError(f"--api-key-file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--api-key-file {path}: expected plain ASCII characters, one key per line.") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ConfigError(f"--api-key-file {path} has no key: write one per line.")
    for number, key in enumerate(keys, 1):
        if not all("!" <= character <= "~" for character in key):
            raise ConfigError(f"--api-key-file {path}: key {number} has a blank or control character: remove it.")
        if len(key) < MIN_KEY:
            raise ConfigError(
                f"--api-key-file {path}: key {number} has {len(key)} characters, expected at least {MIN_KEY}: "
                "create one with `openssl rand -hex 16`."
            )
    return Keys(keys)


PAGES = {"/", "/docs", "/app.js", "/show.js", "/camera.js", "/files.js", "/style.css", "/icon.svg"}
OPEN = frozenset(PAGES | {"/healthz", "/readyz", "/openapi.json"})
KNOWN = OPEN | {"/v1/predict", "/v1/model", "/v1/examples", "/metrics"}
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (b"cache-control", b"no-store"),
]


class SecurityMiddleware:
    """Checks each request before the application gets it, and completes each response.

    Parameters
    ----------
    keys : Keys or None
        ``None`` requires no key.
    any_host : bool
        Whether requests may name any host. On loopback only its own names are accepted, so that a web page cannot
        reach the server through a domain that resolves to this machine (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, keys: Keys | None, any_host: bool, limits: Limits, metrics: Metrics) -> None:
        self._app, self._keys, self._any_host = app, keys, any_host
        self._limits, self._metrics = limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._limits)
        begun = time.perf_counter()
        try:
            refusal = self._refusal(scope)
            app = self._app if refusal is None else refusal.response()
            await app(scope, exchange.receive, exchange.send)
        except Exception:  # other requests are not affected
            log.error("a request failed:\n%s", traceback.format_exc())  # the application has answered 500
        path = scope["path"] if scope["path"] in KNOWN else "other"
        method = scope["method"] if scope["method"] in ("GET", "POST") else "other"
        self._metrics.count(method, path, exchange.status, time.perf_counter() - begun)

    def _refusal(self, scope: Scope) -> ProblemError | None:
        if not self._any_host and _host(scope) not in LOOPBACK_NAMES:
            return ProblemError(
                421,
                "wrong-host",
                "this server accepts requests to localhost only; use --host and --api-key-file to open it.",
            )
        if self._keys is not None and scope["path"] not in OPEN and not self._keys.accept(scope["headers"]):
            headers = {"WWW-Authenticate": 'Bearer realm="frostline"'}
            return ProblemError(
                401, "no-key", "expected a valid API key in Authorization: Bearer, or in X-API-Key.", headers=headers
            )
        return None


def _host(scope: Scope) -> str:
    host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


class _Exchange:
    """One request and its response: adds headers, and reads on a little when the body was refused half-way.

    A connection that is closed with unread bytes is reset, and the client may never receive the response.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        self._receive, self._send, self._limits = receive, send, limits
        names = dict(scope["headers"])
        self._body_read = b"transfer-encoding" not in names and names.get(b"content-length", b"0").strip() == b"0"
        self._expects_continue = b"expect" in names  # sends no body before `100 Continue`
        self.status = 499  # until there is a response: the client has disconnected

    async def receive(self) -> Message:
        message = await self._receive()
        self._body_read = self._body_read or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message["headers"], *HEADERS]
            if not self._body_read:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        elif not message.get("more_body", False) and not self._body_read and not self._expects_continue:
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _linger(self) -> None:
        left = self._limits.body_bytes
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger_seconds):
                while not self._body_read and left > 0:
                    left -= len((await self.receive()).get("body", b""))
