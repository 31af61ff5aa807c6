"""`frostline find-lr`, `tune`, `curve` and `audit`: studies over one feature cache."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.cli.settings import (
    OUTPUT,
    CacheDir,
    ConfigFile,
    Data,
    DataName,
    MovedData,
    OverwriteOutput,
    Quiet,
    at_least,
    flag,
    option,
    provided,
    read_settings,
    with_settings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from frostline.cli.console import Screen
    from frostline.config import TrainConfig
    from frostline.studies.audit.audit import Audit
    from frostline.studies.learning_curve_results import CurvePoint, CurveSpec


LR_FINDER_SETTINGS = (
    "data_dir", "limit", "labels_per_class", "image_size", "model", "weights", "freeze", "taps", "head", "hidden_width",
    "batch_size", "optimizer", "weight_decay", "label_smoothing", "seed", "device",
)  # fmt: skip


@with_settings(LR_FINDER_SETTINGS)
def find_lr(
    data: Data = None,
    *,
    output: Annotated[Path, typer.Option(help="Image to write.", metavar="PNG", rich_help_panel=OUTPUT)] = Path(
        "find-lr.png"
    ),
    overwrite: OverwriteOutput = False,
    steps: Annotated[int, typer.Option(help="Learning rates to try, one gradient step each.", metavar="N")] = 100,
    lowest: Annotated[float, typer.Option(help="First learning rate.", metavar="X")] = 1e-6,
    highest: Annotated[
        float, typer.Option(help="Last learning rate, unless the loss diverges earlier.", metavar="X")
    ] = 1.0,
    cache_dir: CacheDir = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Suggest a learning rate for train by a range test: raise it at every step and record the loss."""
    from frostline._utils.storage import check_output
    from frostline.cli.console import Screen
    from frostline.errors import ConfigError

    settings = read_settings("find-lr", data, config, options)
    if output.suffix.lower() != ".png":
        raise ConfigError(f"--output {output}: expected a name that ends in .png.")
    check_output(output, overwrite=overwrite)
    screen = Screen(quiet=quiet)
    with screen.show_log():
        from frostline.studies.lr_finder import draw_curve
        from frostline.studies.lr_finder import find_lr as test_range

        test = test_range(
            settings, lowest=lowest, highest=highest, steps=steps, cache_dir=cache_dir, progress=screen.progress
        )
    draw_curve(test, f"{settings.data}: learning-rate range test", output)
    steepest = f"{test.steepest:.1e}" if test.steepest else "none: the loss falls by less than 5 %"
    head, unused = ("--head linear ", "; the default head does not use it") if test.moot else ("", "")
    screen.print(
        "",
        f"steepest descent                             {steepest}",
        f"a tenth of the last rate before it rises     {test.tenth:.1e}",
        f"suggestion: {head}--lr {test.suggestion:.1e}, the latter; a starting point from {len(test.rates)} steps: "
        f"compare it with other rates in full trainings{unused}",
        f"wrote {output}",
    )


@with_settings()
def tune(
    data: Data = None,
    *,
    trials: Annotated[int, typer.Option(help="Number of trials, including those before --resume.", metavar="N")] = 50,
    seconds: Annotated[float | None, option("Start no trial after S seconds.", "S")] = None,
    search: Annotated[
        str | None,
        option(
            "Settings to search, of lr, weight_decay, head, taps, label_smoothing, batch_size, freeze and augment.  "
            "[default: the first six, except those given as options]",
            "NAME,…",
        ),
    ] = None,
    name: Annotated[str | None, option("Name of the search.  [default: DATA]", "NAME", group=OUTPUT)] = None,
    overwrite: Annotated[bool, flag("--overwrite", "Replace a search of that name.", group=OUTPUT)] = False,
    resume: Annotated[bool, flag("--resume", "Continue an interrupted search.", group=OUTPUT)] = False,
    output_dir: Annotated[Path, typer.Option(help="Folder that holds the searches.", rich_help_panel=OUTPUT)] = Path(
        "tunes"
    ),
    cache_dir: CacheDir = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Search for better settings of train with short trainings, scored on the validation split."""
    from frostline.cli.console import Screen

    settings = read_settings("tune", data, config, options)
    screen = Screen(quiet=quiet)
    with screen.show_log():
        from frostline.data.registry import check_data, data_name
        from frostline.runs.folder import check_name
        from frostline.studies.tune import tune as run_search
        from frostline.studies.tune_results import format_summary

        names = None if search is None else tuple(part.strip() for part in search.split(",") if part.strip())
        check_data(settings.data)
        if name is not None:
            check_name(name)
        folder = output_dir / (data_name(settings.data) if name is None else name)
        result = run_search(
            settings, folder, trials=trials, seconds=seconds, search=names, cache_dir=cache_dir, overwrite=overwrite,
            resume=resume, progress=screen.progress,
        )  # fmt: skip
    screen.print("", *format_summary(result))
    if result.best is not None:
        image = "importance.png, " if result.importances else ""
        screen.print("", f"wrote {folder}: config.toml, trials.csv, {image}summary.txt and study.db")
        screen.print(f"try: frostline train --config {folder / 'config.toml'}")


@with_settings(("data_dir", "limit", "image_size", "model", "weights", "amp", "seed", "device"))
def curve(
    data: DataName,
    *,
    labels: Annotated[
        str, typer.Option(help="Labeled images per class; all: the whole training split.", metavar="N,…")
    ] = "1,5,10,50,100,500,all",
    ways: Annotated[
        str, typer.Option(help="Methods to compare.", metavar="WAY,…")
    ] = "pixels,random-frozen,frozen,fine-tuned,scratch",
    repeats: Annotated[int, typer.Option(help="Random draws of the labeled images.", callback=at_least(1))] = 3,
    seconds_per_point: Annotated[
        float, typer.Option(help="Time for each point of the methods that train the network.", metavar="S")
    ] = 60.0,
    full: Annotated[bool, flag("--full", "Run the methods that train the network with all labels too.")] = False,
    target: Annotated[float, typer.Option(help="Accuracy to report the required labels for.", metavar="X")] = 0.8,
    train_size: Annotated[
        int, typer.Option(help="Image side in pixels for the methods that train the network.", metavar="N")
    ] = 64,
    output_dir: Annotated[
        Path | None, option("Folder of the result.  [default: curves/DATA]", "DIR", group=OUTPUT)
    ] = None,
    overwrite: Annotated[bool, flag("--overwrite", "Replace a curve with other settings.", group=OUTPUT)] = False,
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Measure accuracy against the number of labeled images, for five training methods."""
    from frostline.cli.console import Screen
    from frostline.config import TrainConfig

    numbers = _numbers(labels)
    config = TrainConfig(data=data, **provided(options))
    screen = Screen(quiet=quiet)
    with screen.show_log():
        from frostline.data.registry import check_data, data_name
        from frostline.studies.learning_curve import curve as measure
        from frostline.studies.learning_curve_results import CurveSpec, check_spec

        spec = CurveSpec(
            numbers, tuple(way.strip() for way in ways.split(",")), repeats, seconds_per_point, train_size, full, target
        )
        check_spec(spec)
        check_data(data)
        output = output_dir or Path("curves") / data_name(data)
        points = measure(config, spec, output, cache_dir=cache_dir, overwrite=overwrite, progress=screen.progress)
    _show_curve(screen, points, spec)
    screen.print("", f"wrote {output}/curve.png, curve.csv, summary.txt and points.jsonl")


def _numbers(labels: str) -> tuple[int, ...]:
    """Parse numbers of labels per class; ``all`` becomes 0."""
    from frostline.errors import ConfigError

    parts = [part.strip() for part in labels.split(",")]
    try:
        numbers = tuple(0 if part == "all" else int(part) for part in parts)
    except ValueError as error:
        raise ConfigError(f"--labels {labels}: expected numbers per class and all, such as 1,10,100,all.") from error
    if any(number < 1 for number, part in zip(numbers, parts, strict=True) if part != "all"):
        raise ConfigError(f"--labels {labels}: expected numbers of 1 or more, and all.")
    return numbers


def _show_curve(screen: "Screen", points: "Sequence[CurvePoint]", spec: "CurveSpec") -> None:
    from frostline.studies.learning_curve_results import WAYS, summarize, tabulate

    rows = [
        [
            WAYS[cell.way][0],
            str(cell.labels or "all"),
            cell.accuracy_text,
            cell.epochs_text,
            f"{cell.seconds:.1f}",
        ]
        for cell in tabulate(points)
    ]
    screen.print("")
    screen.table(["method", "labels per class", "test accuracy (95 %)", "epochs", "seconds"], rows, left=1)
    screen.print("", *summarize(points, spec))


AUDIT_SETTINGS = (
    "data_dir", "strict", "limit", "image_size", "model", "weights", "freeze", "taps", "seed", "device", "workers",
    "cache_dtype",
)  # fmt: skip


@with_settings(AUDIT_SETTINGS)
def audit(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="RUN|DATA",
            help="A run's name or folder; or a name from `frostline data list`, a folder of class folders, or a .csv, "
            ".parquet or .npz file.",
            show_default=False,
        ),
    ],
    *,
    data: MovedData = None,
    include_test: Annotated[bool, flag("--include-test", "Audit the test split too.")] = False,
    fdr: Annotated[
        float,
        typer.Option(
            help="Expected share of right labels among the suspected ones, at most; 1 lists all.", metavar="X"
        ),
    ] = 0.2,
    apply: Annotated[
        Path | None,
        option("Apply the corrections in an edited audit.csv and write the corrected data set.", "FILE", group=OUTPUT),
    ] = None,
    output: Annotated[
        Path | None,
        option("Corrected file to write.  [default: corrected.csv or .npz beside FILE]", "FILE", group=OUTPUT),
    ] = None,
    name: Annotated[
        str | None, option("Name of the audit.  [default: that of the run or the data set]", "NAME", group=OUTPUT)
    ] = None,
    output_dir: Annotated[Path, typer.Option(help="Folder that holds the audits.", rich_help_panel=OUTPUT)] = Path(
        "audits"
    ),
    runs_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.", rich_help_panel=OUTPUT)] = Path("runs"),
    overwrite: Annotated[bool, flag("--overwrite", "Replace an audit of that name.", group=OUTPUT)] = False,
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Find suspected label errors, near-duplicates, outliers and ambiguous images."""
    from frostline.cli.console import Screen
    from frostline.errors import ConfigError
    from frostline.runs.folder import check_name

    if output is not None and apply is None:
        raise ConfigError("--output is for --apply: use --output-dir to choose the folder of an audit.")
    if name is not None:
        check_name(name)
    config, default_name = _resolve_subject(subject, data, runs_dir, options)
    screen = Screen(quiet=quiet)
    if apply is not None:
        _apply_corrections(screen, config, apply, output, overwrite=overwrite, cache_dir=cache_dir)
        return
    folder = output_dir / (name or default_name)
    with screen.show_log():
        from frostline.studies.audit.audit import audit as run_audit

        found = run_audit(
            config, folder, include_test=include_test, fdr=fdr, cache_dir=cache_dir, overwrite=overwrite,
            progress=screen.progress,
        )  # fmt: skip
    _show_audit(screen, found)
    screen.print("", f"wrote {folder}/audit.html, audit.csv and audit.json in {found.facts['seconds']:.1f} s")
    screen.print(
        f"review audit.html and save its CSV file, or edit audit.csv, then run: "
        f"frostline audit {subject} --apply {folder / 'audit.csv'}"
    )


def _show_audit(screen: "Screen", found: "Audit") -> None:
    from frostline.studies.audit.audit import top_lines
    from frostline.studies.audit.findings import KINDS
    from frostline.studies.audit.label_noise import expectation

    screen.print("")
    screen.table(["finding", "number"], [[KINDS[kind], f"{n:,}"] for kind, n in found.facts["findings"].items()])
    screen.print("", expectation(found.facts["label_errors"]))
    rows = top_lines(found)
    if rows:
        screen.print("")
        screen.table(["most suspicious", "label", "suggested", "p(label)", "p(suggested)"], rows, left=3)


def _resolve_subject(
    subject: str, data: str | None, runs_dir: Path, options: dict[str, Any]
) -> "tuple[TrainConfig, str]":
    """Return the settings of a run, or those given for a data set, and the default name of the audit."""
    from frostline.config import TrainConfig
    from frostline.data.registry import SOURCES, check_data, data_name, redirected
    from frostline.errors import ConfigError, UnknownNameError
    from frostline.runs.folder import Run, list_runs

    settings = provided(options)
    for run in (Run(runs_dir / subject), Run(Path(subject))):
        if run.begun:
            fixed = sorted(set(settings) - {"data_dir", "device", "workers"})
            if fixed:
                raise ConfigError(
                    f"--{fixed[0].replace('_', '-')} is set by run '{subject}': leave it out, or audit the data set "
                    "by its own name."
                )
            config = redirected(run.config, data, run.name).model_dump() | settings
            return TrainConfig(**config), run.folder.absolute().name
    if data is not None:
        raise ConfigError(f"--data is where the images of a run are now, and {subject} is not a run: leave it out.")
    if subject not in SOURCES and not Path(subject).exists():
        if "/" in subject:
            check_data(subject)  # its error says that there is no such path
        known = [run.name for run in list_runs(runs_dir)]
        own = ", or an existing folder or file (.csv, .tsv, .parquet, .npz)"
        raise UnknownNameError("run or data set", subject, [*SOURCES, *known], own)
    check_data(subject)
    return TrainConfig(data=subject, **settings), data_name(subject)


def _apply_corrections(
    screen: "Screen",
    config: "TrainConfig",
    table: Path,
    output: Path | None,
    *,
    overwrite: bool,
    cache_dir: Path | None,
) -> None:
    with screen.show_log():
        from frostline.data.registry import load_configured
        from frostline.studies.audit.corrections import write_corrected

        splits = load_configured(config, cache_dir, screen.progress)
        path = write_corrected(splits, table, output, overwrite=overwrite)
    screen.print(f"try: frostline train {path}")
