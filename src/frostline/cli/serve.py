"""`frostline serve`."""

from pathlib import Path
from typing import Annotated

import typer

from frostline.cli.settings import OutputDir, Quiet, option


def serve(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN|BUNDLE|FILE", help="A run's name or folder, a bundle or FILE.onnx.", show_default=False
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    api_key_file: Annotated[
        Path | None, typer.Option(help="One key per line; requests must bring one.", metavar="FILE", show_default=False)
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Let anybody in who reaches another host.")] = False,
    max_pixels: Annotated[int | None, option("Refuse images that claim more pixels (50 million).", "N")] = None,
    reject: Annotated[
        float | None,
        option(
            "Mark answers as unknown below the confidence that loses at most this share of the validation images.", "X"
        ),
    ] = None,
    output_dir: OutputDir = Path("runs"),
    quiet: Quiet = False,
) -> None:
    """Answer over HTTP, with a page for people: classify images where a browser is."""
    from frostline._utils.extras import require
    from frostline.cli.console import Screen
    from frostline.errors import ConfigError

    require("serve", "serve", "fastapi", "httptools", "prometheus_client", "python_multipart", "uvicorn")
    if max_pixels is not None and max_pixels < 1:
        raise ConfigError(f"--max-pixels {max_pixels}: expected 1 or more.")
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.serve.keys import read_keys
        from frostline.serve.limits import Limits
        from frostline.serve.model import load_served
        from frostline.serve.server import is_loopback
        from frostline.serve.server import serve as run_server

        if not is_loopback(host) and api_key_file is None and not no_auth:
            raise ConfigError(
                f"--host {host} opens the model to others: add --api-key-file FILE, or --no-auth if anybody may use it."
            )
        keys = read_keys(api_key_file) if api_key_file else None
        served = load_served(model, output_dir)
        limits = Limits() if max_pixels is None else Limits(pixels=max_pixels)
        run_server(
            served, host, port, keys,
            lambda address: screen.say(f"serving {served.kind} '{served.name}' at {address}"),
            limits, reject,
        )  # fmt: skip
