"""``frostline export`` and ``frostline serve``."""

from pathlib import Path
from typing import Annotated

import typer

from frostline.cli.predict import RunName
from frostline.cli.settings import CacheDir, MovedData, OutputDir, Quiet, option


def export(
    run: RunName,
    kind: Annotated[str, typer.Option("--format", help="onnx, or torch: a program of torch.export.")] = "onnx",
    output: Annotated[Path | None, option("The file to write (default RUN.onnx or RUN.pt2, here).", "FILE")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    quantize: Annotated[str | None, option("int8: 8 bits in place of 32.", "int8")] = None,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Accept int8 that loses more than 0.5 points of accuracy.")
    ] = False,
    data: MovedData = None,
    output_dir: OutputDir = Path("runs"),
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
) -> None:
    """Write one file that takes raw images and gives what predict gives; it is checked, or not written."""
    from frostline.cli.console import Screen, size_text
    from frostline.data.registry import redirected
    from frostline.runs.folder import Run

    screen = Screen(quiet=quiet)
    with screen.lines():
        found = Run.load(run, output_dir)
        redirected(found.config, data, found.name)  # refuses images that are gone before anything heavy is imported
        from frostline.exporters.export import export as deliver

        done = deliver(
            found, output, format=kind, quantize=quantize, allow_loss=allow_loss, overwrite=overwrite, data=data,
            cache_dir=cache_dir, progress=screen.progress,
        )  # fmt: skip
    parity = done.parity
    screen.say(
        f"compared with predict: the same class for all of {parity.images} images and {parity.varied} in other sizes "
        f"and colors; largest difference of a probability {parity.largest_difference:.1e}"
    )
    if done.int8 is not None:
        before, after = done.int8["accuracy_before"], done.int8["accuracy_after"]
        screen.say(
            f"int8: validation accuracy {after:.4f}, before {before:.4f} ({100 * (after - before):+.2f} points, "
            f"{done.int8['images']:,} images); {size_text(done.int8['bytes_after'])}, before "
            f"{size_text(done.int8['bytes_before'])}"
        )
    screen.say(f"wrote {done.path} ({size_text(done.path.stat().st_size)}) and {done.parity_path}")


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
    from frostline.cli.console import Screen
    from frostline.errors import ConfigError, require

    require("serve", "serve", "fastapi", "httptools", "prometheus_client", "python_multipart", "uvicorn")
    if max_pixels is not None and max_pixels < 1:
        raise ConfigError(f"--max-pixels {max_pixels}: expected 1 or more.")
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.serve.limits import Limits
        from frostline.serve.middleware import read_keys
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
