"""The server process: one socket, one event loop, connection limits and a graceful shutdown."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from frostline.errors import ConfigError
from frostline.serve.app import make_app
from frostline.serve.limits import Limits
from frostline.serve.middleware import Keys
from frostline.serve.model import ServedModel
from frostline.serve.schemas import MEDIA_TYPE, ProblemError, busy

BACKLOG = 512


class _Connection(HttpToolsProtocol):
    """uvicorn's protocol, with a deadline for every state, and limits on connections and header size."""

    def __init__(self, *args: Any, limits: Limits, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limits = limits
        self._request_seconds = limits.body_seconds + limits.answer_seconds + limits.header_seconds
        self._deadline: asyncio.TimerHandle | None = None
        self._in_header = True
        self._header_bytes = 0  # of the request that is being read

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._send_and_close(busy("too many connections: try again in a moment."))
        else:
            self._set_deadline(self._limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._set_deadline(None)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_header:
            self._header_bytes += len(data)
        super().data_received(data)
        most = self._limits.header_bytes
        if self._in_header and self._header_bytes > most and not self.transport.is_closing():
            self._refuse(ProblemError(431, "large-header", f"a request header may have at most {most // 1024} KiB."))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_header:  # trailers of a chunked body are ignored
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_header, self._header_bytes = False, 0
        super().on_headers_complete()
        if not self.pipeline:
            self._set_deadline(self._request_seconds)

    def on_message_complete(self) -> None:
        self._in_header = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._set_deadline(self._request_seconds if self.pipeline else self._limits.header_seconds)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(ProblemError(400, "no-http", "expected an HTTP/1.1 request."))

    def _refuse(self, problem: ProblemError) -> None:
        """Refuse data that is not a request, after the answer to the previous request."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._send_and_close(problem)
        elif cycle.more_body:  # its body is broken
            self.transport.abort() if cycle.response_started else self._send_and_close(problem)
        else:
            cycle.keep_alive = False
            self.flow.pause_reading()

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(seconds, self._on_deadline)

    def _on_deadline(self) -> None:
        if self.cycle and not self.cycle.response_complete:
            self.transport.abort()
        elif self._header_bytes:
            detail = f"the request header was not complete within {self._limits.header_seconds:g} s."
            self._send_and_close(ProblemError(408, "slow-header", detail))
        else:
            self.transport.close()

    def _send_and_close(self, problem: ProblemError) -> None:
        """Answer without the application, and close."""
        body = problem.body()
        headers = {
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Connection": "close",
            **problem.headers,
        }
        lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()


def is_loopback(host: str) -> bool:
    """Whether a host name or address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    model: ServedModel,
    host: str,
    port: int,
    keys: Keys | None,
    announce: Callable[[str], None],
    limits: Limits | None = None,
    reject: float | None = None,
) -> None:
    """Serve a model until SIGTERM or Ctrl-C; requests in progress are completed.

    Parameters
    ----------
    port : int
        0 takes a free one.
    announce : callable
        Called with the address of the page once connections are accepted.
    reject : float, optional
        Mark answers as unknown by default, at the threshold that loses this share of the validation images.

    Raises
    ------
    ConfigError
        When the address cannot be used, or ``reject`` is not a share from 0 to 0.5.
    RunError
        When the model was saved without rejection thresholds.
    """
    limits = limits or Limits()
    if reject is not None:
        model.classifier.threshold(reject)  # fails early
    listening = _listen(host, port)
    address = _address(host, listening.getsockname()[1])
    app = make_app(model, limits, keys, any_host=keys is not None or not is_loopback(host), reject=reject)
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", partial(_Connection, limits=limits)),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(limits.header_seconds),
        timeout_graceful_shutdown=int(limits.drain_seconds),
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # malformed requests are not worth a warning
    _Server(config, lambda: announce(address)).run([listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port} cannot be used ({error.strerror}): choose another, or --port 0 for any."
        ) from error
    except OverflowError as error:
        raise ConfigError(f"--port {port}: expected 0 to 65535.") from error


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class _Server(uvicorn.Server):
    """Calls back when it is ready, and returns after a signal instead of raising it again."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            try:
                yield
            finally:
                self._captured_signals.clear()
