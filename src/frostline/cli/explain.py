"""`frostline explain`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.cli.predict import RunName
from frostline.cli.settings import Device, OutputDir, check_name, option

if TYPE_CHECKING:
    from frostline.data.dataset import BadImage
    from frostline.report.explanations import ExplainedImage

FORMATS = ("table", "json")


def explain(
    run: RunName,
    paths: Annotated[list[Path], typer.Argument(help="Image files or folders of them.", show_default=False)],
    stage: Annotated[str | None, option("Where to look (the last that has a map).", "STAGE")] = None,
    method: Annotated[str, typer.Option(help="gradcam, or hirescam: each place by its own gradient.")] = "gradcam",
    top: Annotated[int, typer.Option(help="For how many classes, the most probable first.", min=1)] = 3,
    neighbors: Annotated[int, typer.Option(help="How many training images to show.", min=1)] = 5,
    output: Annotated[Path | None, option("Folder to write to (explained/RUN).", "DIR")] = None,
    output_format: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
    device: Device = "auto",
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 2 when some images cannot be read, after explaining the others.")
    ] = False,
    output_dir: OutputDir = Path("runs"),
) -> None:
    """Show where images speak for their likeliest classes (Grad-CAM), and the training images most like them."""
    from frostline.cli.console import Screen, Unread
    from frostline.cli.streams import write_result
    from frostline.config import choices
    from frostline.runs.folder import Run

    check_name("format", output_format, FORMATS)
    check_name("device", device, choices("device"))
    found = Run.load(run, output_dir)
    folder = output or Path("explained") / found.name
    screen = Screen(stderr=True)
    with screen.lines():
        from frostline._utils.progress import log
        from frostline.errors import require
        from frostline.inference.explain import Explainer
        from frostline.inference.image_files import find_images
        from frostline.report.explanations import write_explanations

        require("explain", "explain", "captum.attr")
        images = find_images(paths)
        explainer = Explainer.load(found.folder, device)
        place = explainer.stage(stage)
        if not explainer.knows_neighbors:
            log.warning("run '%s' has no %s: no training images are shown", found.name, found.index.name)
        explained, bad, sheet = write_explanations(
            explainer,
            images.files,
            folder,
            title=f"Explanations of run '{found.name}'",
            stage=place,
            method=method,
            top=top,
            neighbors=neighbors,
            progress=screen.progress,
        )
        bad = [*images.bad, *bad]
        unread = Unread(len(images.files) + len(images.bad))
        unread.tell((one.path, one.reason) for one in bad)
    if output_format == "json":
        about = {"run": str(found.folder), "stage": place, "grid": explainer.grids[place], "method": method,
                 "sheet": str(sheet) if sheet else None}  # fmt: skip
        listed = about | {"images": [*map(_as_json, explained), *map(_bad_as_json, bad)]}
        write_result(json.dumps(listed, indent=2) + "\n")
    elif sheet is not None:
        _show(explained, sheet)
    unread.conclude(screen, strict=strict)


def _bad_as_json(one: "BadImage") -> dict[str, Any]:
    return {"file": str(one.path), "image": None, "classes": [], "neighbors": None, "error": one.reason}


def _as_json(one: "ExplainedImage") -> dict[str, Any]:
    classes = [
        {"class": c.class_name, "probability": c.probability, "map": str(c.map), "overlay": str(c.overlay),
         "blank": c.blank}
        for c in one.classes
    ]  # fmt: skip
    neighbors = (
        None
        if one.neighbors is None
        else [
            {"class": near.class_name, "similarity": near.similarity, "thumbnail": str(path), "file": near.file or None}
            for near, path in one.neighbors
        ]
    )
    return {"file": str(one.file), "image": str(one.image), "classes": classes, "neighbors": neighbors}


def _show(explained: list["ExplainedImage"], sheet: Path) -> None:
    from frostline.cli.console import Screen

    screen = Screen()
    columns = ["file", "best", *map(str, range(2, len(explained[0].classes) + 1))]
    rows = [[str(one.file), *(f"{c.class_name} {c.probability:.3f}" for c in one.classes)] for one in explained]
    if any(one.neighbors for one in explained):
        columns.append("nearest training images")
        for row, one in zip(rows, explained, strict=True):
            row.append(", ".join(f"{near.class_name} {near.similarity:.2f}" for near, _ in one.neighbors or []))
    screen.table(columns, rows, left=len(columns))
    screen.say("", f"wrote {sheet}, and beside it a folder of images for each file")
