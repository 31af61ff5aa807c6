"""The process that serves: one socket, one event loop, an end that lets requests finish."""

import ipaddress
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from frostline.errors import ConfigError
from frostline.serve.app import make_app
from frostline.serve.keys import Keys
from frostline.serve.limits import Limits
from frostline.serve.model import Served
from frostline.serve.protocol import connection_type

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
