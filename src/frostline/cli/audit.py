"""`frostline audit`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from frostline.cli.settings import OUTPUT, CacheDir, MovedData, Quiet, flag, option, with_settings

SETTINGS = (
    "data_dir", "strict", "limit", "image_size", "model", "weights", "freeze", "taps", "seed", "device", "workers",
    "cache_dtype",
)  # fmt: skip


@with_settings(SETTINGS)
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
