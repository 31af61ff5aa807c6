"""The process that serves: one socket, one event loop, an end that lets requests finish."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from frostline.errors import ConfigError
from frostline.serve.app import make_app
from frostline.serve.limits import Limits
from frostline.serve.middleware import Keys
from frostline.serve.model import Served
from frostline.serve.schemas import MEDIA_TYPE, ProblemError, busy


def connection_type(limits: Limits) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol with a deadline for every state of a connection, and caps on number and headers."""
    request_seconds = limits.body_seconds + limits.answer_seconds + limits.header_seconds

    class Connection(HttpToolsProtocol):
        _deadline: asyncio.TimerHandle | None = None
        _in_header = True
        _header_bytes = 0  # of the request that is being read

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._say(busy("too many connections: try again in a moment."))
            else:
                self._within(limits.header_seconds)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._within(None)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self._in_header:
                self._header_bytes += len(data)
            super().data_received(data)
            if self._in_header and self._header_bytes > limits.header_bytes and not self.transport.is_closing():
                detail = f"a request header may have {limits.header_bytes // 1024} KiB."
                self._refuse(ProblemError(431, "large-header", detail))

        def on_header(self, name: bytes, value: bytes) -> None:
            if self._in_header:  # what follows a body in chunks is left aside
                super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._in_header, self._header_bytes = False, 0
            super().on_headers_complete()
            if not self.pipeline:
                self._within(request_seconds)

        def on_message_complete(self) -> None:
            self._in_header = True
            super().on_message_complete()

        def on_response_complete(self) -> None:
            self._within(request_seconds if self.pipeline else limits.header_seconds)
            super().on_response_complete()

        def send_400_response(self, msg: str) -> None:
            self._refuse(ProblemError(400, "no-http", "expected HTTP/1.1, and something else came."))

        def _refuse(self, problem: ProblemError) -> None:
            """Answer what is no request, after the answer to the request before it."""
            cycle = self.cycle
            if cycle is None or cycle.response_complete:
                self._say(problem)
            elif cycle.more_body:  # its body is broken
                self.transport.abort() if cycle.response_started else self._say(problem)
            else:
                cycle.keep_alive = False
                self.flow.pause_reading()

        def _within(self, seconds: float | None) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
            if seconds is not None and not self.transport.is_closing():
                self._deadline = self.loop.call_later(seconds, self._late)

        def _late(self) -> None:
            if self.cycle and not self.cycle.response_complete:
                self.transport.abort()
            elif self._header_bytes:
                self._say(ProblemError(408, "slow-header", f"no whole header within {limits.header_seconds:g} s."))
            else:
                self.transport.close()

        def _say(self, problem: ProblemError) -> None:
            """Answer outside of the application, and close."""
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

    return Connection


BACKLOG = 512


def is_loopback(host: str) -> bool:
    """Whether a host name or address reaches this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    served: Served,
    host: str,
    port: int,
    keys: Keys | None,
    announce: Callable[[str], None],
    limits: Limits | None = None,
    reject: float | None = None,
) -> None:
    """Serve a model until SIGTERM or Ctrl-C; requests that were begun are answered.

    Parameters
    ----------
    served : Served
    host : str
    port : int
        0: any that is free.
    keys : Keys or None
    announce : callable
        Is told the page's address once connections are taken.
    limits : Limits, optional
    reject : float, optional
        Say of each answer whether it counts as unknown, at the threshold that loses this share of the validation
        images.

    Raises
    ------
    ConfigError
        When the address cannot be used, or ``reject`` is no share from 0 to 0.5.
    RunError
        When the model was saved without thresholds to reject by.
    """
    limits = limits or Limits()
    if reject is not None:
        served.predicts.threshold(reject)  # refuses what cannot be
    listening = _listen(host, port)
    address = _address(host, listening.getsockname()[1])
    app = make_app(served, limits, keys, any_host=keys is not None or not is_loopback(host), reject=reject)
    config = uvicorn.Config(
        app,
        http=connection_type(limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(limits.header_seconds),
        timeout_graceful_shutdown=int(limits.drain_seconds),
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what strangers send is no news
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
    """Says when it is ready, and ends by itself instead of by the signal that asked it to."""

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
