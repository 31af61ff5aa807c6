"""`frostline train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

DATA_HELP = "A name from `frostline data list`, a folder of class folders, or a .csv, .parquet or .npz file."

Data = Annotated[str | None, typer.Argument(help=DATA_HELP, show_default=False)]
OutputDir = Annotated[Path, typer.Option(help="Folder that holds the runs.")]
CacheDir = Annotated[
    Path | None, typer.Option(help="Folder of kept activations and downloads.", envvar="FROSTLINE_CACHE_DIR")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]


def _option(help_text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=help_text, metavar=metavar, show_default=False)


def train(
    data: Data = None,
    *,
    name: Annotated[str | None, _option("Name of the run (default DATA-1, DATA-2, …).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of that name.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    output_dir: OutputDir = Path("runs"),
    cache_dir: CacheDir = None,
    config: Annotated[Path | None, _option("TOML file with any of these settings.", "FILE")] = None,
    quiet: Quiet = False,
    data_dir: Annotated[Path | None, _option("Folder that holds the data set's files.", "DIR")] = None,
    strict: Annotated[
        bool | None,
        typer.Option("--strict", help="Refuse pictures that cannot be read (left out).", show_default=False),
    ] = None,
    limit: Annotated[int | None, _option("Use N training and N/6 test images, stratified.", "N")] = None,
    labels_per_class: Annotated[int | None, _option("Train on N labelled images per class.", "N")] = None,
    views: Annotated[
        int | None,
        _option("Versions of each training picture, itself included (1; with --freeze none one per epoch).", "V"),
    ] = None,
    augment: Annotated[
        str | None, _option("How far views 2, 3, … may be from it, e.g. flip=0,rotation=10.", "NAME=X,…")
    ] = None,
    val_fraction: Annotated[float | None, _option("Part of train kept for validation (0.1).", "X")] = None,
    image_size: Annotated[int | None, _option("Side in pixels (128 for small images, else 224).", "N")] = None,
    model: Annotated[
        str | None, _option("Pre-trained network: alexnet, timm:NAME or torchvision:NAME (alexnet).")
    ] = None,
    weights: Annotated[
        str | None,
        _option("auto, imagenet or bundled (alexnet), pretrained (others), random or a .pth/.safetensors file (auto)."),
    ] = None,
    freeze: Annotated[
        str | None, _option("Last frozen stage; none thaws all of them (the one heads go on: conv5).", "STAGE")
    ] = None,
    taps: Annotated[
        str | None, _option("Stages the head reads: STAGE,…, none (the last alone) or auto.", "STAGES")
    ] = None,
    head: Annotated[str | None, _option("linear, mlp or ridge (linear).")] = None,
    hidden_width: Annotated[int | None, _option("Hidden units of the mlp (512).", "N")] = None,
    dropout: Annotated[float | None, _option("Dropout of the mlp (0.5).", "X")] = None,
    schedule: Annotated[
        str | None,
        _option("How stages are thawed: head-first, gradual (one more at a time) or together (head-first)."),
    ] = None,
    epochs: Annotated[
        int | None, _option("Passes over the training split (12; up to 100 for a head on few images).", "N")
    ] = None,
    head_epochs: Annotated[int | None, _option("Passes for the head before stages are thawed.", "N")] = None,
    batch_size: Annotated[int | None, _option("Images per gradient step (256).", "N")] = None,
    optimizer: Annotated[str | None, _option("sgd or adamw (adamw).")] = None,
    lr_schedule: Annotated[str | None, _option("onecycle, cosine or constant (onecycle).")] = None,
    warm_up: Annotated[float | None, _option("Share of the steps that the learning rate climbs for.", "X")] = None,
    lr: Annotated[float | None, _option("Peak learning rate (by optimiser, head and what is thawed).", "X")] = None,
    head_lr: Annotated[float | None, _option("The head's before stages are thawed.", "X")] = None,
    layer_decay: Annotated[
        float | None, _option("Factor on the learning rate for each thawed stage down from the head (1).", "X")
    ] = None,
    momentum: Annotated[float | None, _option("Momentum of sgd (0.9).", "X")] = None,
    weight_decay: Annotated[float | None, _option("Weight decay (0.05).", "X")] = None,
    label_smoothing: Annotated[float | None, _option("Label smoothing (0.1).", "X")] = None,
    clip_norm: Annotated[
        float | None, _option("Largest norm of the gradient, 0 for any (1 while stages are thawed).", "X")
    ] = None,
    ema: Annotated[float | None, _option("Keep a moving average of the weights, e.g. 0.999 (0: none).", "X")] = None,
    mixup: Annotated[float | None, _option("Blend pairs of pictures or rows, e.g. 0.2 (0).", "X")] = None,
    cutmix: Annotated[float | None, _option("Cut pairs of pictures or maps together, e.g. 1 (0).", "X")] = None,
    patience: Annotated[
        int | None, _option("Epochs without a better validation before stopping (5, or a quarter; thawed: all).", "N")
    ] = None,
    batch_norm: Annotated[
        bool | None,
        typer.Option("--batch-norm", help="Normalise thawed convolutions by batch as they learn.", show_default=False),
    ] = None,
    amp: Annotated[
        bool | None, typer.Option("--amp", help="Train thawed stages in 16 bits.", show_default=False)
    ] = None,
    compile: Annotated[
        bool | None, typer.Option("--compile", help="torch.compile the training step.", show_default=False)
    ] = None,
    seed: Annotated[int | None, _option("One seed for everything (0).", "N")] = None,
    device: Annotated[str | None, _option("cpu, cuda or mps (cpu).")] = None,
    workers: Annotated[int | None, _option("Processes that decode picture files (all cores).", "N")] = None,
    cache_dtype: Annotated[str | None, _option("float16 or float32: precision of kept activations (float16).")] = None,
) -> None:
    """Run the frozen stages once over DATA, train what lies above them, and test it."""
    given = {key: value for key, value in locals().items() if value is not None}
    for not_a_setting in ("name", "overwrite", "resume", "output_dir", "cache_dir", "config", "quiet"):
        given.pop(not_a_setting, None)
    from frostline.cli.console import Screen
    from frostline.cli.tables import show_results
    from frostline.config import make_config, read_config
    from frostline.errors import ConfigError, RunError

    settings = (read_config(config) if config else {}) | given
    if "data" not in settings:
        raise ConfigError(
            "which data set? Give its name or folder, e.g. `frostline train fashion-mnist`; see `frostline data list`."
        )
    checked = make_config(**settings)
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.runs.fit import fit

        run = fit(
            checked,
            name=name,
            output_dir=output_dir,
            cache_dir=cache_dir,
            overwrite=overwrite,
            resume=resume,
            progress=screen.progress,
        )
    screen.say("")
    show_results(screen, run.metrics["test"], "test split")
    screen.say(f"\nrun folder: {run.folder}    try: frostline predict {run.name} PICTURE…")
    if not run.finished:
        raise RunError(f"run '{run.name}' did not finish.")
