"""``frostline find-lr``, ``tune``, ``curve`` and ``audit``: many trainings over one cache."""

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
    Quiet,
    flag,
    gather,
    option,
    with_settings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from frostline.cli.console import Screen
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
    overwrite: Annotated[bool, flag("--overwrite", "Replace a file of that name.", group=OUTPUT)] = False,
    steps: Annotated[int, typer.Option(help="Learning rates to try, one gradient step each.", metavar="N")] = 100,
    lowest: Annotated[float, typer.Option(help="First learning rate.", metavar="X")] = 1e-6,
    highest: Annotated[
        float, typer.Option(help="Last learning rate, unless the loss diverges before.", metavar="X")
    ] = 1.0,
    cache_dir: CacheDir = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
    **given: Any,
) -> None:
    """Suggest a learning rate for train by a range test: raise it at every step and watch the loss."""
    from frostline._utils.storage import check_output
    from frostline.cli.console import Screen
    from frostline.errors import ConfigError

    checked = gather("find-lr", data, config, given)
    if output.suffix.lower() != ".png":
        raise ConfigError(f"--output {output}: expected a name that ends in .png.")
    check_output(output, overwrite=overwrite)
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.studies.lr_finder import draw_curve
        from frostline.studies.lr_finder import find_lr as test_range

        test = test_range(
            checked, lowest=lowest, highest=highest, steps=steps, cache_dir=cache_dir, progress=screen.progress
        )
    draw_curve(test, f"{checked.data}: learning-rate range test", output)
    screen.say("")
    fall = f"{test.steepest:.1e}" if test.steepest else "none: the loss does not fall by a twentieth"
    screen.say(f"steepest descent                             {fall}")
    screen.say(f"a tenth of the last rate before it rises     {test.tenth:.1e}")
    screen.say(
        f"suggestion: --lr {test.suggestion:.1e}, the latter; read off {len(test.rates)} steps it is a place to begin, "
        "and only a training can tell"
    )
    screen.say(f"wrote {output}")


@with_settings()
def tune(
    data: Data = None,
    *,
    trials: Annotated[int, typer.Option(help="Number of trials, those before a --resume included.", metavar="N")] = 50,
    seconds: Annotated[float | None, option("Begin no trial after S seconds.", "S")] = None,
    search: Annotated[
        str | None,
        option(
            "Settings to search, of lr, weight_decay, head, taps, label_smoothing, batch_size, freeze and augment.  "
            "[default: the first six, without those that are given]",
            "NAME,…",
        ),
    ] = None,
    name: Annotated[str | None, option("Name of the search.  [default: DATA]", "NAME", group=OUTPUT)] = None,
    overwrite: Annotated[bool, flag("--overwrite", "Replace a search of that name.", group=OUTPUT)] = False,
    resume: Annotated[bool, flag("--resume", "Continue a stopped search.", group=OUTPUT)] = False,
    output_dir: Annotated[Path, typer.Option(help="Folder that holds the searches.", rich_help_panel=OUTPUT)] = Path(
        "tunes"
    ),
    cache_dir: CacheDir = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
    **given: Any,
) -> None:
    """Search for better settings of train with short trainings, scored on the validation split."""
    from frostline.cli.console import Screen

    checked = gather("tune", data, config, given)
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.data.registry import check_data, data_name
        from frostline.runs.folder import check_name
        from frostline.studies.tune import tune as find
        from frostline.studies.tune_results import format_summary

        names = None if search is None else tuple(part.strip() for part in search.split(",") if part.strip())
        check_data(checked.data)
        if name is not None:
            check_name(name)
        folder = output_dir / (data_name(checked.data) if name is None else name)
        result = find(
            checked, folder, trials=trials, seconds=seconds, search=names, cache_dir=cache_dir, overwrite=overwrite,
            resume=resume, progress=screen.progress,
        )  # fmt: skip
    screen.say("")
    for line in format_summary(result):
        screen.say(line)
    if result.best is not None:
        image = "importance.png, " if result.importances else ""
        screen.say("", f"wrote {folder}: config.toml, trials.csv, {image}summary.txt and study.db")
        screen.say(f"try: frostline train --config {folder / 'config.toml'}")


@with_settings(("data_dir", "limit", "image_size", "model", "weights", "amp", "seed", "device"))
def curve(
    data: DataName,
    *,
    labels: Annotated[
        str, typer.Option(help="Labeled images per class; all: every one.", metavar="N,…")
    ] = "1,5,10,50,100,500,all",
    ways: Annotated[
        str, typer.Option(help="Methods to compare.", metavar="WAY,…")
    ] = "pixels,random-frozen,frozen,fine-tuned,scratch",
    repeats: Annotated[int, typer.Option(help="Random draws of the labeled images.", min=1)] = 3,
    seconds_per_point: Annotated[
        float, typer.Option(help="Time for each point of the methods that train the network.", metavar="S")
    ] = 60.0,
    full: Annotated[bool, flag("--full", "Run the methods that train the network with all labels, too.")] = False,
    target: Annotated[float, typer.Option(help="Accuracy to count the needed labels for.", metavar="X")] = 0.8,
    train_size: Annotated[
        int, typer.Option(help="Image side in pixels for the methods that train the network.", metavar="N")
    ] = 64,
    output_dir: Annotated[
        Path | None, option("Folder of the result.  [default: curves/DATA]", "DIR", group=OUTPUT)
    ] = None,
    overwrite: Annotated[bool, flag("--overwrite", "Replace a curve with other settings.", group=OUTPUT)] = False,
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
    **given: Any,
) -> None:
    """Measure accuracy against the number of labeled images, for five ways to train a classifier."""
    from frostline.cli.console import Screen
    from frostline.config import TrainConfig

    numbers = _numbers(labels)
    config = TrainConfig(data=data, **{name: value for name, value in given.items() if value is not None})
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.data.registry import check_data, data_name
        from frostline.studies.learning_curve import curve as measure
        from frostline.studies.learning_curve_results import CurveSpec, check_spec

        question = CurveSpec(
            numbers, tuple(way.strip() for way in ways.split(",")), repeats, seconds_per_point, train_size, full, target
        )
        check_spec(question)
        check_data(data)
        output = output_dir or Path("curves") / data_name(data)
        points = measure(config, question, output, cache_dir=cache_dir, overwrite=overwrite, progress=screen.progress)
    _show(screen, points, question)
    screen.say("", f"wrote {output}/curve.png, curve.csv, summary.txt and points.jsonl")


def _numbers(labels: str) -> tuple[int, ...]:
    """Return numbers of labels per class; 0 stands for ``all``."""
    from frostline.errors import ConfigError

    parts = [part.strip() for part in labels.split(",")]
    try:
        numbers = tuple(0 if part == "all" else int(part) for part in parts)
    except ValueError as error:
        raise ConfigError(f"--labels {labels}: expected numbers per class and all, such as 1,10,100,all.") from error
    if any(number < 1 for number, part in zip(numbers, parts, strict=True) if part != "all"):
        raise ConfigError(f"--labels {labels}: expected numbers of 1 or more, and all.")
    return numbers


def _show(screen: "Screen", points: "Sequence[CurvePoint]", question: "CurveSpec") -> None:
    from frostline.studies.learning_curve_results import WAYS, summarize, tabulate

    rows = [
        [
            WAYS[cell.way][0],
            str(cell.labels or "all"),
            f"{cell.mean:.4f}" + (f" ± {cell.half_width:.4f}" if cell.half_width == cell.half_width else ""),
            f"{cell.seconds:.1f}",
        ]
        for cell in tabulate(points)
    ]
    screen.say("")
    screen.table(["way", "labels per class", "test accuracy (95 %)", "seconds"], rows, left=1)
    screen.say("", *summarize(points, question))


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
    include_test: Annotated[bool, flag("--include-test", "Audit the test split, too.")] = False,
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
    **given: Any,
) -> None:
    """Find suspected label errors, near-duplicates, outliers and ambiguous images."""
    from frostline.cli.console import Screen
    from frostline.errors import ConfigError
    from frostline.runs.folder import check_name

    if output is not None and apply is None:
        raise ConfigError("--output is where --apply writes: --output-dir holds what an audit finds.")
    if name is not None:
        check_name(name)
    config, own_name = _subject(subject, data, runs_dir, given)
    screen = Screen(quiet=quiet)
    if apply is not None:
        _correct(screen, config, apply, output, overwrite=overwrite, cache_dir=cache_dir)
        return
    with screen.lines():
        from frostline.studies.audit.audit import audit as look
        from frostline.studies.audit.audit import top_lines
        from frostline.studies.audit.findings import KINDS

        folder = output_dir / (name or own_name)
        found = look(
            config, folder, include_test=include_test, cache_dir=cache_dir, overwrite=overwrite,
            progress=screen.progress,
        )  # fmt: skip
    screen.say("")
    screen.table(["found", "number"], [[KINDS[kind], f"{n:,}"] for kind, n in found.facts["findings"].items()])
    rows = top_lines(found)
    if rows:
        screen.say("")
        screen.table(["most suspicious", "label", "suggested", "p(label)", "p(suggested)"], rows, left=3)
    screen.say("", f"wrote {folder}/audit.html, audit.csv and audit.json in {found.facts['seconds']:.1f} s")
    screen.say(f"look, edit audit.csv, then: frostline audit {subject} --apply {folder / 'audit.csv'}")


def _subject(subject: str, data: str | None, runs_dir: Path, given: dict[str, Any]) -> Any:
    """Return the settings of a run, or those that are given for a data set; and a name."""
    from frostline.config import TrainConfig
    from frostline.data.registry import SOURCES, check_data, data_name, redirected
    from frostline.errors import ConfigError, UnknownNameError
    from frostline.runs.folder import Run, list_runs

    chosen = {key: value for key, value in given.items() if value is not None}
    for folder in (runs_dir / subject, Path(subject)):
        if Run(folder).begun:
            contrary = sorted(set(chosen) - {"data_dir", "device", "workers"})
            if contrary:
                raise ConfigError(
                    f"--{contrary[0].replace('_', '-')} is a setting of run '{subject}' already: leave it out, or "
                    "audit the data set by its own name."
                )
            run = Run(folder)
            settings = redirected(run.config, data, run.name).model_dump() | chosen
            return TrainConfig(**settings), run.folder.absolute().name
    if data is not None:
        raise ConfigError(f"--data is where the images of a run are now, and {subject} is no run: leave it out.")
    if subject not in SOURCES and not Path(subject).exists():
        if "/" in subject:
            check_data(subject)  # says that there is no such path
        known = [run.name for run in list_runs(runs_dir)]
        own = ", or a folder or file (.csv, .tsv, .parquet, .npz) of yours, and no such file or folder exists"
        raise UnknownNameError("run or data set", subject, [*SOURCES, *known], own)
    check_data(subject)
    return TrainConfig(data=subject, **chosen), data_name(subject)


def _correct(
    screen: Any, config: Any, table: Path, output: Path | None, *, overwrite: bool, cache_dir: Path | None
) -> None:
    with screen.lines():
        from frostline.data.registry import load_configured
        from frostline.studies.audit.corrections import write_corrected

        splits = load_configured(config, cache_dir, screen.progress)
        path = write_corrected(splits, table, output, overwrite=overwrite)
    screen.say(f"try: frostline train {path}")
