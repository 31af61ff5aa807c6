"""`frostline data`, `models` and `cache`: list, check and show data sets, networks and cached features."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.cli.application import Application
from frostline.cli.settings import (
    SOURCE_SETTINGS,
    CacheDir,
    ConfigFile,
    Data,
    DataName,
    Overwrite,
    Quiet,
    at_least,
    check_name,
    option,
    provided,
    read_settings,
    with_settings,
)

if TYPE_CHECKING:
    from frostline.models.weights import Offer

data_app = Application("List, get, check, show and export data sets.")
models_app = Application("List, show and rank networks.")
cache_app = Application("List, verify and prune the cached features.")

DataDir = Annotated[Path | None, typer.Option(help="Folder that holds the data set's files.")]


@data_app.command("list")
def data_list(cache_dir: CacheDir = None) -> None:
    """List the named data sets and where their files are."""
    from frostline.cli.console import Screen
    from frostline.data.registry import SOURCES

    rows = [
        [name, source.description, source.where(cache_dir) or f"not downloaded: frostline data get {name}"]
        for name, source in SOURCES.items()
    ]
    Screen().table(["data set", "description", "location"], rows, left=3)


@data_app.command("get")
def data_get(name: DataName, data_dir: DataDir = None, cache_dir: CacheDir = None) -> None:
    """Download a data set unless it is present, and print its location."""
    from frostline.cli.console import Screen
    from frostline.data.registry import load_dataset

    screen = Screen()
    with screen.show_log():
        splits = load_dataset(name, data_dir, cache_dir=cache_dir, progress=screen.progress)
    screen.print(f"{splits.name}: {len(splits.train):,} train and {len(splits.test):,} test images in {splits.source}")


@data_app.command("check")
@with_settings(SOURCE_SETTINGS)
def data_check(name: DataName, *, data_dir: DataDir = None, cache_dir: CacheDir = None, **options: Any) -> None:
    """Check what a training would find: files, counts, ranges, and images that are in two splits or two classes.

    Exits with 2 only where train refuses the data, or a data set with a name is not the published one.
    """
    from frostline.cli.console import Screen
    from frostline.config import TrainConfig
    from frostline.data.check import check
    from frostline.data.listing import ClashError
    from frostline.data.registry import SOURCES, load_configured
    from frostline.errors import DataError

    screen = Screen()
    config = TrainConfig(data=name, data_dir=data_dir, **provided(options))
    try:
        with screen.show_log():
            findings = check(load_configured(config, cache_dir, screen.progress), config.val_fraction)
    except ClashError as error:
        rows = [[cell for image in pair for cell in (image.shown_path, image.reason)] for pair in error.pairs]
        screen.table(["same bytes: image", "class", "image", "class"], rows, left=4)
        raise
    screen.table([name, "found", ""], [[item.what, item.found, item.level] for item in findings], left=3)
    advised = [f"{item.level}: {item.what}: {item.advice}" for item in findings if item.advice]
    screen.print("", *advised)
    problems = [item.what for item in findings if item.level == "problem"]
    if problems and name in SOURCES:
        raise DataError(f"{name} differs from the published data: {', '.join(problems)}. Download its files again.")
    if problems:
        raise DataError(f"{name}: train would refuse it: {', '.join(problems)}; see above what to do.")
    screen.print(f"{name}: train accepts it")


@data_app.command("show")
def data_show(
    name: DataName,
    output: Annotated[Path | None, typer.Option(help="PNG to write (default NAME.png).", show_default=False)] = None,
    overwrite: Overwrite = False,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "train",
    augment: Annotated[
        str | None,
        typer.Option(help="Show views of one image: `default`, or the strengths.", metavar="NAME=X,…"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed for drawing the images.", callback=at_least(0))] = 0,
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
    from frostline.errors import DataError

    screen = Screen()
    check_name("split", split, ("train", "val", "test"))
    strengths = None if augment is None else make_augment(split_pairs(augment))
    path = output or Path(f"{data_name(name)}.png")
    check_output(path, overwrite=overwrite)
    with screen.show_log():
        splits = load_dataset(name, data_dir, cache_dir=cache_dir, progress=screen.progress)
    part = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
    if part is None:
        raise DataError(f"{name} has no validation split: each run draws one from train.")
    if strengths is None:
        draw_sheet(part, f"{splits.name}, {split} split: {len(part):,} images", path, seed)
    else:
        views = [View(number, seed, strengths) for number in range(PER_CLASS)]
        title = f"{splits.name}, {split} split: an image and {PER_CLASS - 1} views"
        draw_views(part, views, Preprocess(128), title, path, seed)
    screen.print(f"wrote {path}")


@data_app.command("export")
@with_settings(SOURCE_SETTINGS)
def data_export(
    name: DataName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder to write.", show_default=False)],
    *,
    per_class: Annotated[int | None, option("First images of each class in each split (all).", "N", least=1)] = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Write a data set as class folders, DIR/SPLIT/CLASS/000001.png; image files are copied as they are."""
    from frostline.cli.console import Screen
    from frostline.config import TrainConfig
    from frostline.data.class_folders import check_new_folder, write_class_folders
    from frostline.data.registry import load_configured

    check_new_folder(folder)
    screen = Screen(quiet=quiet)
    config = TrainConfig(data=name, data_dir=data_dir, **provided(options))
    with screen.show_log():
        splits = load_configured(config, cache_dir, screen.progress)
        counts = write_class_folders(splits, folder, per_class=per_class, progress=screen.progress)
    written = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    screen.print(f"wrote {written} images to {folder}")


@models_app.command("list")
def models_list(
    pattern: Annotated[
        str | None, typer.Argument(help="List the names that match, e.g. 'timm:resnet*'.", show_default=False)
    ] = None,
    cache_dir: CacheDir = None,
) -> None:
    """List the networks with their size and available weights; those of other packages by a pattern."""
    from frostline.cli.console import Screen
    from frostline.models.external import PACKAGES
    from frostline.models.registry import NETWORKS, list_networks

    screen = Screen()
    if pattern is not None:
        screen.print(*list_networks(pattern))
        return
    rows = []
    for name, network in NETWORKS.items():
        shape, offer = network.outline(), network.offer
        kinds = ["random", "bundled"] if offer.bundled else ["random"]
        kinds += [offer.word] if offer.published and offer.published.find(cache_dir) else []
        count = sum(parameter.numel() for parameter in shape.parameters())
        rows.append([name, ", ".join(shape.stage_names), ", ".join(kinds), f"{count:,}", f"{shape.min_image_size} px"])
    screen.table(["model", "stages", "available weights", "parameters", "smallest image"], rows, left=3)
    others = []
    for name, package in PACKAGES.items():
        installed = f"{name} {package.version}: list them with `frostline models list '{name}:*'`"
        missing = f"not installed: pip install 'frostline[{name}]'"
        others.append([f"{name}:NAME", installed if package.version else missing])
    screen.table(["model", "networks of other packages"], others, left=2)


RANK_SETTINGS = (*SOURCE_SETTINGS, "val_fraction", "image_size", "engine", "seed", "device")


@models_app.command("rank")
@with_settings(RANK_SETTINGS)
def models_rank(
    data: Data = None,
    *,
    candidates: Annotated[
        str | None,
        typer.Option(
            help="Networks to compare (default: those whose weights are on this machine).",
            metavar="NAME,…",
            show_default=False,
        ),
    ] = None,
    images: Annotated[int, option("Training images to compare on, at most (1000).", "N", least=20)] = 1_000,
    plot: Annotated[Path | None, option("Also draw the table to this file.", "PNG")] = None,
    overwrite: Overwrite = False,
    cache_dir: CacheDir = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Compare networks on the training images of a data set; this is how --model auto chooses."""
    from frostline._utils.storage import check_output
    from frostline.cli.console import Screen
    from frostline.errors import ConfigError

    checked = read_settings("models rank", data, config, options)
    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise ConfigError(f"--plot {plot}: expected a name that ends in .png.")
        check_output(plot, overwrite=overwrite, option="--plot")
    screen = Screen(quiet=quiet)
    with screen.show_log():
        from frostline.pipeline import rank, resolve
        from frostline.pipeline.context import make_context

        context = make_context(checked.device, cache_dir, screen.progress, checked.engine)
        names = candidates.split(",") if candidates else rank.candidates(context)
        _, splits = resolve.resolve_images(checked, context)
        ranked = rank.rank_networks(
            splits.train, names, context, count=images, image_size=checked.image_size, fit=checked.fit
        )
    if plot is not None:
        rank.draw_ranking(ranked, f"networks on {checked.data}", plot)
    chosen = rank.best_value(ranked)
    rows = [
        [
            one.model,
            one.weights,
            one.stages,
            f"{one.image_size} px",
            f"{one.accuracy:.3f} ± {one.standard_error:.3f}",
            f"{one.operations / 1e6:,.0f} M",
            "*" if one is chosen else "",
        ]
        for one in ranked
    ]
    heading = ["model", "weights", "stages", "size", "accuracy", "operations", "auto"]
    screen.table(heading, rows, left=3)
    screen.print(
        "accuracy: cross-validated on training images, with its standard error; operations: multiply-accumulates per "
        "image. --model auto (*) takes the cheapest within one standard error of the best."
    )


@models_app.command("show")
def models_show(
    name: Annotated[str, typer.Argument(help="A name from `frostline models list`.", show_default=False)],
    image_size: Annotated[
        int | None, typer.Option(help="Side of the input in pixels (the network's own).", show_default=False)
    ] = None,
    freeze: Annotated[
        str | None, typer.Option(help="Last frozen stage, or none (the one heads are put on).", show_default=False)
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
        screen.print(f"the pre-trained head ({replaced:,} parameters) is replaced by a new one; {everything:,} with it")
    screen.table(["--weights", "description"], _weights(network.offer, cache_dir), left=2)
    if network.offer.license:
        screen.print(f"origin and license of {network.offer.word}: {network.offer.license}")


def _weights(offer: "Offer", cache_dir: Path | None) -> list[list[str]]:
    from frostline._utils.hashing import sha256_file
    from frostline.models.weights import read_record

    rows = []
    if offer.published:
        here = offer.published.find(cache_dir)
        rows.append([offer.word, f"in {here}" if here else offer.published.source])
    if offer.bundled:
        record = read_record(offer.bundled)
        what = f"conv1 to conv5, pre-trained by Frostline on {record['images']:,} procedurally drawn images"
        rows.append(["bundled", f"{what}; SHA-256 {sha256_file(offer.bundled)[:12]}…"])
    otherwise = ", else bundled" if offer.bundled else ""
    return [
        *rows,
        ["random", f"{offer.random}: not pre-trained"],
        ["auto", f"{offer.word} if present or downloadable{otherwise}"],
    ]


@cache_app.command("list")
def cache_list(cache_dir: CacheDir = None) -> None:
    """List the stores of cached features."""
    from frostline._utils.storage import cache_dir as cache_folder
    from frostline.cli.console import Screen, size_text
    from frostline.features.inventory import list_stores, total_bytes

    place = cache_folder(cache_dir)
    screen = Screen()
    with screen.show_log():
        stores = list_stores(place)
    rows = []
    for store in stores:
        spec = store.spec
        reads = ",".join(spec.get("taps", [])) or "boundary"
        size = spec.get("preprocess", {}).get("image_size", "?")
        computed = f"{spec.get('network', '?')} {spec.get('freeze', '?')} {size} px {spec.get('dtype', '?')}"
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(store.last_used))
        rows.append([store.name, computed, reads, used, f"{store.rows:,}", str(store.shards), size_text(store.bytes)])
    screen.table(["store", "computed with", "reads", "last used", "rows", "shards", "size"], rows, left=4)
    screen.print(f"{len(stores)} stores, {size_text(total_bytes(stores))} in {place}")


@cache_app.command("verify")
def cache_verify(cache_dir: CacheDir = None) -> None:
    """Read every byte of the cached features and list damaged shards."""
    from frostline._utils.storage import cache_dir as cache_folder
    from frostline.cli.console import Screen
    from frostline.errors import StorageError
    from frostline.features.inventory import verify

    screen = Screen()
    problems = []
    with screen.show_log():
        report = verify(cache_folder(cache_dir))
    for store, found in report:
        screen.print(f"{store.name}: {store.rows:,} rows in {store.shards} shards: {'DAMAGED' if found else 'intact'}")
        problems += found
    screen.print(*(f"  {problem}" for problem in problems))
    if problems:
        raise StorageError(f"{len(problems)} damaged: the next run that needs those rows recomputes them.")


@cache_app.command("prune")
def cache_prune(
    older_than: Annotated[float | None, option("Remove stores not used for this many days.", "DAYS", least=0)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every store.")] = False,
    cache_dir: CacheDir = None,
) -> None:
    """Free disk space: remove stores of cached features."""
    from frostline._utils.storage import cache_dir as cache_folder
    from frostline.cli.console import Screen, size_text
    from frostline.errors import ConfigError
    from frostline.features.inventory import prune

    if older_than is None and not everything:
        raise ConfigError("nothing to prune: give --older-than DAYS or --all; `frostline cache list` lists the stores.")
    screen = Screen()
    with screen.show_log():
        removed, freed = prune(cache_folder(cache_dir), older_than_days=older_than, everything=everything)
    screen.print(f"removed {len(removed)} stores, {size_text(freed)}")
