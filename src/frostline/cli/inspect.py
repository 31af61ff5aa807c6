"""`frostline data`, `models`, `cache` and `runs`: what is there."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.cli.settings import SOURCE_SETTINGS, CacheDir, DataName, GroupedCommand, OutputDir, with_settings

if TYPE_CHECKING:
    from frostline.models.weights import Offer
    from frostline.runs.folder import Run

data_app = typer.Typer(help="Data sets: list, get, check, show.", no_args_is_help=True, rich_markup_mode=None)
models_app = typer.Typer(help="Networks: list, show.", no_args_is_help=True, rich_markup_mode=None)
cache_app = typer.Typer(help="Kept activations: list, verify, prune.", no_args_is_help=True, rich_markup_mode=None)

DataDir = Annotated[Path | None, typer.Option(help="Folder that holds the data set's files.")]


@data_app.command("list")
def data_list(cache_dir: CacheDir = None) -> None:
    """List the data sets that have a name, and where their files are."""
    from frostline.cli.console import Screen
    from frostline.data.registry import SOURCES

    rows = [
        [name, source.description, source.where(cache_dir) or f"not here yet: frostline data get {name}"]
        for name, source in SOURCES.items()
    ]
    Screen().table(["data set", "what it is", "where"], rows, left=3)


@data_app.command("get")
def data_get(name: DataName, data_dir: DataDir = None, cache_dir: CacheDir = None) -> None:
    """Download a data set unless it is here, and say where it is."""
    from frostline.cli.console import Screen
    from frostline.data.registry import load_dataset

    screen = Screen()
    with screen.lines():
        splits = load_dataset(name, data_dir, cache_dir=cache_dir, progress=screen.progress)
    screen.say(f"{splits.name}: {len(splits.train):,} train and {len(splits.test):,} test images in {splits.source}")


@data_app.command("check", cls=GroupedCommand)
@with_settings(SOURCE_SETTINGS)
def data_check(name: DataName, *, data_dir: DataDir = None, cache_dir: CacheDir = None, **given: Any) -> None:
    """Verify files, counts, ranges, and look for images that are in two splits or in two classes."""
    from frostline.cli.console import Screen
    from frostline.config import TrainConfig
    from frostline.data.check import check
    from frostline.data.listing import ClashError
    from frostline.data.registry import SOURCES, load_configured
    from frostline.errors import DataError

    screen = Screen()
    chosen = {key: value for key, value in given.items() if value is not None}
    try:
        with screen.lines():
            findings = check(load_configured(TrainConfig(data=name, data_dir=data_dir, **chosen), cache_dir,
                                             screen.progress))  # fmt: skip
    except ClashError as error:
        rows = [[cell for image in pair for cell in (image.shown_path, image.reason)] for pair in error.pairs]
        screen.table(["same bytes: image", "class", "image", "class"], rows, left=4)
        raise
    marks = {True: "ok", False: "WRONG", None: "note"}
    screen.table([name, "found", ""], [[item.what, item.found, marks[item.ok]] for item in findings], left=3)
    wrong = [item.what for item in findings if item.ok is False]
    if wrong and name in SOURCES:
        raise DataError(f"{name} is not as published: {', '.join(wrong)}. Get its files again.")
    if wrong:
        raise DataError(f"{name}: not as it should be: {', '.join(wrong)}.")


@data_app.command("show")
def data_show(
    name: DataName,
    output: Annotated[Path | None, typer.Option(help="PNG to write (default NAME.png).", show_default=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "train",
    augment: Annotated[
        str | None,
        typer.Option(help="Views of an image: `default`, or the range of changes.", metavar="NAME=X,…"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the images.", min=0)] = 0,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
) -> None:
    """Write a contact sheet: a row of images for each class, or with --augment a row of views of one image."""
    from frostline._utils.storage import check_output
    from frostline.cli.console import Screen
    from frostline.config import split_pairs
    from frostline.data.augment import View, make_augment
    from frostline.data.preprocess import Preprocess
    from frostline.data.registry import data_name, load_dataset
    from frostline.data.thumbnails import PER_CLASS, draw_sheet, draw_views
    from frostline.errors import DataError, UnknownNameError

    screen = Screen()
    if split not in ("train", "val", "test"):
        raise UnknownNameError("split", split, ("train", "val", "test"))
    changes = None if augment is None else make_augment(split_pairs(augment))
    path = output or Path(f"{data_name(name)}.png")
    check_output(path, overwrite=overwrite)
    with screen.lines():
        splits = load_dataset(name, data_dir, cache_dir=cache_dir, progress=screen.progress)
    part = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
    if part is None:
        raise DataError(f"{name} has no validation split of its own: each run draws one from train.")
    if changes is None:
        draw_sheet(part, f"{splits.name}, {split} split: {len(part):,} images", path, seed)
    else:
        views = [View(number, seed, changes) for number in range(PER_CLASS)]
        draw_views(
            part,
            views,
            Preprocess(128),
            f"{splits.name}, {split} split: an image and {PER_CLASS - 1} views",
            path,
            seed,
        )
    screen.say(f"wrote {path}")


@models_app.command("list")
def models_list(
    pattern: Annotated[
        str | None, typer.Argument(help="Name those that match, e.g. 'timm:resnet*'.", show_default=False)
    ] = None,
    cache_dir: CacheDir = None,
) -> None:
    """List the networks, their size and the weights that are here; other packages' by a pattern."""
    from frostline.cli.console import Screen
    from frostline.models.external import PACKAGES
    from frostline.models.registry import NETWORKS, list_networks

    screen = Screen()
    if pattern is not None:
        for name in list_networks(pattern):
            screen.say(name)
        return
    rows = []
    for name, network in NETWORKS.items():
        shape, offer = network.outline(), network.offer
        kinds = ["random", "bundled"] if offer.bundled else ["random"]
        kinds += [offer.word] if offer.published and offer.published.find(cache_dir) else []
        count = sum(parameter.numel() for parameter in shape.parameters())
        rows.append([name, ", ".join(shape.stage_names), ", ".join(kinds), f"{count:,}", f"{shape.min_image_size} px"])
    screen.table(["model", "stages", "weights here", "parameters", "smallest image"], rows, left=3)
    others = []
    for name, package in PACKAGES.items():
        here = f"{name} {package.version}: `frostline models list '{name}:*'` names them"
        others.append([f"{name}:NAME", here if package.version else f"not here: pip install 'frostline[{name}]'"])
    screen.table(["model", "networks of other packages"], others, left=2)


@models_app.command("show")
def models_show(
    name: Annotated[str, typer.Argument(help="A name from `frostline models list`.", show_default=False)],
    image_size: Annotated[
        int | None, typer.Option(help="Side of the input in pixels (the network's own).", show_default=False)
    ] = None,
    freeze: Annotated[
        str | None, typer.Option(help="Last frozen stage, or none (the one heads go on).", show_default=False)
    ] = None,
    cache_dir: CacheDir = None,
) -> None:
    """Show a network stage by stage (shape, parameters, multiply-accumulates, frozen or thawed) and its weights."""
    from frostline.cli.console import Screen
    from frostline.models.backbone import check_image_size, describe
    from frostline.models.boundary import NONE, make_boundary
    from frostline.models.registry import find_network

    network = find_network(name)
    backbone = network.outline()
    image_size, freeze = image_size or backbone.intake.image_size, freeze or backbone.feature_stage
    boundary = make_boundary(backbone, freeze, ())
    check_image_size(backbone, image_size)
    facts = describe(list(backbone.stages.items()), image_size)
    frozen = 0 if freeze == NONE else backbone.position(freeze) + 1
    end = backbone.position(boundary.end) + 1
    states = ["frozen" if i < frozen else "thawed" if i < end else "left out" for i in range(len(facts))]
    rows = [
        [f.name, " x ".join(map(str, f.output)), state, f"{f.parameters:,}", f"{f.multiply_accumulates:,}"]
        for f, state in zip(facts, states, strict=True)
    ]
    for state in ("frozen", "thawed", "left out"):
        part = [f for f, s in zip(facts, states, strict=True) if s == state]
        if part:
            counts = (sum(f.parameters for f in part), sum(f.multiply_accumulates for f in part))
            rows.append([f"total {state}", "", "", *(f"{count:,}" for count in counts)])
    columns = ["stage", "output", "state", "parameters", "multiply-accumulates"]
    screen = Screen()
    screen.table(columns, rows, title=f"{name} at {image_size} px, one image", left=3)
    if backbone.classifier is not None:
        replaced = sum(parameter.numel() for parameter in backbone.classifier.parameters())
        everything = sum(parameter.numel() for parameter in backbone.parameters())
        screen.say(f"the pre-trained head ({replaced:,} parameters) is replaced by a new one; {everything:,} with it")
    screen.table(["--weights", "what they are"], _weights(network.offer, cache_dir), left=2)
    if network.offer.license:
        screen.say(f"origin and license of {network.offer.word}: {network.offer.license}")


def _weights(offer: "Offer", cache_dir: Path | None) -> list[list[str]]:
    from frostline._utils.hashing import sha256_file
    from frostline.models.weights import read_record

    rows = []
    if offer.published:
        here = offer.published.find(cache_dir)
        rows.append([offer.word, f"in {here}" if here else offer.published.source])
    if offer.bundled:
        record = read_record(offer.bundled)
        what = f"conv1 to conv5, pre-trained by Frostline on {record['images']:,} images that a program drew"
        rows.append(["bundled", f"{what}; SHA-256 {sha256_file(offer.bundled)[:12]}…"])
    otherwise = ", else bundled" if offer.bundled else ""
    return [
        *rows,
        ["random", f"{offer.random}: nothing is pre-trained"],
        ["auto", f"{offer.word} when they are here or can be downloaded{otherwise}"],
    ]


@cache_app.command("list")
def cache_list(cache_dir: CacheDir = None) -> None:
    """List the stores of cached features."""
    from frostline._utils.storage import cache_dir as cache_folder
    from frostline.cli.console import Screen, size_text
    from frostline.features.inventory import list_stores, total_bytes

    place = cache_folder(cache_dir)
    screen = Screen()
    with screen.lines():
        stores = list_stores(place)
    rows = []
    for store in stores:
        spec = store.spec
        reads = ",".join(spec.get("taps", [])) or "boundary"
        size = spec.get("preprocess", {}).get("image_size", "?")
        way = f"{spec.get('network', '?')} {spec.get('freeze', '?')} {size} px {spec.get('dtype', '?')}"
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(store.last_used))
        rows.append([store.name, way, reads, used, f"{store.rows:,}", str(store.shards), size_text(store.bytes)])
    screen.table(["store", "computed with", "reads", "last used", "rows", "shards", "size"], rows, left=4)
    screen.say(f"{len(stores)} stores, {size_text(total_bytes(stores))} in {place}")


@cache_app.command("verify")
def cache_verify(cache_dir: CacheDir = None) -> None:
    """Read every byte of the kept activations and name what is damaged."""
    from frostline._utils.storage import cache_dir as cache_folder
    from frostline.cli.console import Screen
    from frostline.errors import StorageError
    from frostline.features.inventory import verify

    screen = Screen()
    faults = []
    with screen.lines():
        report = verify(cache_folder(cache_dir))
    for store, found in report:
        screen.say(f"{store.name}: {store.rows:,} rows in {store.shards} shards: {'DAMAGED' if found else 'whole'}")
        faults += found
    for fault in faults:
        screen.say(f"  {fault}")
    if faults:
        raise StorageError(f"{len(faults)} damaged: the next run that needs those rows computes them again.")


@cache_app.command("prune")
def cache_prune(
    older_than: Annotated[float | None, typer.Option(help="Remove stores not used for so many days.", min=0)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every store.")] = False,
    cache_dir: CacheDir = None,
) -> None:
    """Give space back: remove stores of kept activations."""
    from frostline._utils.storage import cache_dir as cache_folder
    from frostline.cli.console import Screen, size_text
    from frostline.errors import ConfigError
    from frostline.features.inventory import prune

    if older_than is None and not everything:
        raise ConfigError(
            "what should go? Give --older-than DAYS or --all; `frostline cache list` shows what is there."
        )
    screen = Screen()
    with screen.lines():
        removed, freed = prune(cache_folder(cache_dir), older_than_days=older_than, everything=everything)
    screen.say(f"removed {len(removed)} stores, {size_text(freed)}")


def runs(output_dir: OutputDir = Path("runs")) -> None:
    """List runs side by side."""
    from frostline.cli.console import Screen
    from frostline.runs.folder import list_runs

    screen = Screen()
    with Screen(stderr=True).lines():  # what is said of runs that cannot be read
        rows = [_run_row(run) for run in list_runs(output_dir)]
    if not rows:
        screen.say(f"no runs in {output_dir}: `frostline train fashion-mnist` makes one")
        return
    columns = ["run", "data", "weights", "freeze", "head reads", "head", "px", "lr", "seed", "val acc", "test acc", "s"]
    screen.table(columns, rows, left=6)


def _run_row(run: "Run") -> list[str]:
    from frostline.data.registry import data_name
    from frostline.errors import FrostlineError

    try:
        config = run.config
        reads = ",".join(config.taps) or "boundary"
        way = [run.name, data_name(config.data), config.weights, config.freeze, reads, config.head]
        way += [str(config.image_size), f"{config.lr:g}" if config.lr else "-", str(config.seed)]
        if not run.finished:
            return [*way, "unfinished", "", ""]
        metrics = run.metrics
        accuracies = [f"{metrics[split]['accuracy']:.4f}" if metrics[split] else "-" for split in ("val", "test")]
        return [*way, *accuracies, f"{metrics['total_seconds']:.1f}"]
    except FrostlineError as error:
        return [run.name, f"damaged: {error}", *[""] * 10]
