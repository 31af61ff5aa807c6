"""A connection that has to be quick: uvicorn itself waits for ever for a header that never ends."""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from frostline.serve.errors import MEDIA_TYPE, ProblemError, busy
from frostline.serve.limits import Limits


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
