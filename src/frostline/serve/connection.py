"""A connection that has to be quick: uvicorn itself waits for ever for a header that never ends."""

import asyncio
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from frostline.serve.limits import Limits
from frostline.serve.problems import MEDIA_TYPE, ProblemError, busy


def connection_type(limits: Limits) -> type[H11Protocol]:
    """Return uvicorn's protocol with a deadline for every state of a connection, and a cap on their number."""

    class Connection(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._say(busy("too many connections: try again in a moment."))
            else:
                self._within(limits.header_seconds)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._within(None)

        def handle_events(self) -> None:
            before = self.cycle
            super().handle_events()
            if self.cycle is not before and not self.cycle.response_complete:  # a whole header came
                self._within(limits.body_seconds + limits.answer_seconds + limits.header_seconds)

        def on_response_complete(self) -> None:
            self._within(limits.header_seconds)
            super().on_response_complete()

        def send_400_response(self, msg: str) -> None:
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self._say(ProblemError(400, "no-http", "expected HTTP/1.1, and something else came."))
            else:  # an answer is on its way, or was
                self.transport.abort()

        def _within(self, seconds: float | None) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
            if seconds is not None and not self.transport.is_closing():
                self._deadline = self.loop.call_later(seconds, self._late)

        def _late(self) -> None:
            begun = self.conn.our_state is h11.IDLE and bool(self.conn.trailing_data[0])
            if begun:
                self._say(ProblemError(408, "slow-header", f"no whole header within {limits.header_seconds:g} s."))
            self.transport.abort() if self.cycle and not self.cycle.response_complete else self.transport.close()

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
