"""`frostline export` and `frostline serve`."""

from pathlib import Path
from typing import Annotated

import typer

from frostline.cli.settings import CacheDir, MovedData, OutputDir, Overwrite, Quiet, RunName, option


def export(
    run: RunName,
    kind: Annotated[str, typer.Option("--format", help="onnx, or torch: a torch.export program.")] = "onnx",
    output: Annotated[Path | None, option("File to write (RUN.onnx or RUN.pt2).", "FILE")] = None,
    overwrite: Overwrite = False,
    quantize: Annotated[str | None, option("int8: quantize to 8 bits.", "int8")] = None,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Accept an int8 model that loses more than 0.5 points of accuracy.")
    ] = False,
    data: MovedData = None,
    output_dir: OutputDir = Path("runs"),
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
) -> None:
    """Export the model with its preprocessing as one file, checked against the predictions of predict."""
    from frostline.cli.console import Screen, size_text
    from frostline.data.registry import redirected
    from frostline.runs.folder import Run

    screen = Screen(quiet=quiet)
    with screen.show_log():
        found = Run.load(run, output_dir)
        if not found.has(found.sample.name):
            redirected(found.config, data, found.name)  # fails on missing images before anything heavy is imported
        from frostline.exporters.export import export as export_run

        done = export_run(
            found, output, format=kind, quantize=quantize, allow_loss=allow_loss, overwrite=overwrite, data=data,
            cache_dir=cache_dir, progress=screen.progress,
        )  # fmt: skip
    parity = done.parity
    screen.print(
        f"compared with predict: the same class for all of {parity.images} images and {parity.varied} in other sizes "
        f"and colors; largest difference of probabilities {parity.largest_difference:.1e}"
    )
    if done.int8 is not None:
        before, after = done.int8["accuracy_before"], done.int8["accuracy_after"]
        screen.print(
            f"int8: validation accuracy {after:.4f}, before {before:.4f} ({100 * (after - before):+.2f} points, "
            f"{done.int8['images']:,} images); {size_text(done.int8['bytes_after'])}, before "
            f"{size_text(done.int8['bytes_before'])}"
        )
    screen.print(f"wrote {done.path} ({size_text(done.path.stat().st_size)}) and {done.parity_path}")


def serve(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN|BUNDLE|FILE", help="A run's name or folder, a bundle or FILE.onnx.", show_default=False
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for a free one.", min=0, max=65535)] = 8000,
    api_key_file: Annotated[
        Path | None,
        typer.Option(help="File with one key per line; requests must send one.", metavar="FILE", show_default=False),
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Serve beyond this machine without keys.")] = False,
    max_pixels: Annotated[int | None, option("Refuse images with more pixels (50 million).", "N", least=1)] = None,
    reject: Annotated[
        float | None,
        option(
            "Answer 'unknown' below the confidence that rejects at most this share of the validation images.",
            "X",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Library that runs the network: auto (the fastest), torch, openvino (extra fast) or onnxruntime "
            "(extra export).",
            metavar="NAME",
        ),
    ] = "auto",
    output_dir: OutputDir = Path("runs"),
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
) -> None:
    """Serve predictions over HTTP, with a web page."""
    from frostline.cli.console import Screen
    from frostline.errors import ConfigError, require

    require("serve", "serve", "fastapi", "httptools", "prometheus_client", "python_multipart", "uvicorn")
    screen = Screen(quiet=quiet)
    with screen.show_log():
        from frostline.serve.limits import Limits
        from frostline.serve.middleware import read_keys
        from frostline.serve.model import load_served
        from frostline.serve.server import is_loopback
        from frostline.serve.server import serve as run_server

        if not is_loopback(host) and api_key_file is None and not no_auth:
            raise ConfigError(
                f"--host {host} makes the model reachable from other machines: add --api-key-file FILE, or --no-auth "
                "to serve it without keys."
            )
        keys = read_keys(api_key_file) if api_key_file else None
        served = load_served(model, output_dir, engine, cache_dir)
        limits = Limits() if max_pixels is None else Limits(pixels=max_pixels)
        run_server(
            served, host, port, keys,
            lambda address: screen.print(f"serving {served.kind} '{served.name}' at {address}"),
            limits, reject,
        )  # fmt: skip
