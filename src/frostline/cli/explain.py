"""`frostline explain`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.cli.settings import ImagePaths, OutputDir, RunName, Strict, at_least, check_name, option, with_settings

if TYPE_CHECKING:
    from frostline.data.dataset import BadImage
    from frostline.report.explanations import ExplainedImage

FORMATS = ("table", "json")


@with_settings(("device",))
def explain(
    run: RunName,
    paths: ImagePaths,
    stage: Annotated[str | None, option("Stage to explain (the last with a feature map).", "STAGE")] = None,
    method: Annotated[str, typer.Option(help="gradcam, or hirescam: gradients by position.")] = "gradcam",
    top: Annotated[int, typer.Option(help="Most probable classes to explain.", callback=at_least(1))] = 3,
    neighbors: Annotated[int, typer.Option(help="How many training images to show.", callback=at_least(1))] = 5,
    output: Annotated[Path | None, option("Folder to write to (explained/RUN).", "DIR")] = None,
    output_format: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
    strict: Strict = False,
    output_dir: OutputDir = Path("runs"),
    **options: Any,
) -> None:
    """Draw saliency maps of the most probable classes (Grad-CAM), and the most similar training images."""
    from frostline.cli.console import Screen, UnreadableImages
    from frostline.cli.streams import write_result
    from frostline.config import choices
    from frostline.runs.folder import Run

    check_name("format", output_format, FORMATS)
    device = options["device"] or "auto"
    check_name("device", device, choices("device"))
    found = Run.load(run, output_dir)
    folder = output or Path("explained") / found.name
    screen = Screen(stderr=True)
    with screen.show_log():
        from frostline._utils.progress import log
        from frostline.errors import require
        from frostline.inference.explain import Explainer
        from frostline.inference.image_files import find_images
        from frostline.report.explanations import write_explanations

        require("explain", "explain", "captum.attr")
        images = find_images(paths)
        explainer = Explainer.load(found.folder, device)
        stage = explainer.stage(stage)
        if not explainer.knows_neighbors:
            log.warning("run '%s' has no %s: similar training images are not shown", found.name, found.index.name)
        explained, bad, sheet = write_explanations(
            explainer, images.files, folder, title=f"Explanations of run '{found.name}'", stage=stage, method=method,
            top=top, neighbors=neighbors, progress=screen.progress,
        )  # fmt: skip
        bad = [*images.bad, *bad]
        unreadable = UnreadableImages(len(images.files) + len(images.bad))
        unreadable.report((image.path, image.reason) for image in bad)
    if output_format == "json":
        value = {"run": str(found.folder), "stage": stage, "grid": explainer.grids[stage], "method": method,
                 "sheet": str(sheet) if sheet else None,
                 "images": [*map(_as_json, explained), *map(_bad_as_json, bad)]}  # fmt: skip
        write_result(json.dumps(value, indent=2) + "\n")
    elif sheet is not None:
        _show(explained, sheet)
    unreadable.conclude(screen, strict=strict)


def _bad_as_json(bad: "BadImage") -> dict[str, Any]:
    return {"file": str(bad.path), "image": None, "classes": [], "neighbors": None, "error": bad.reason}


def _as_json(image: "ExplainedImage") -> dict[str, Any]:
    classes = [
        {"class": c.class_name, "probability": c.probability, "map": str(c.map), "overlay": str(c.overlay),
         "blank": c.blank}
        for c in image.classes
    ]  # fmt: skip
    neighbors = [
        {"class": near.class_name, "similarity": near.similarity, "thumbnail": str(path), "file": near.file or None}
        for near, path in image.neighbors or ()
    ]
    return {
        "file": str(image.file),
        "image": str(image.image),
        "classes": classes,
        "neighbors": None if image.neighbors is None else neighbors,
    }


def _show(explained: list["ExplainedImage"], sheet: Path) -> None:
    from frostline.cli.console import Screen

    screen = Screen()
    columns = ["file", "best", *map(str, range(2, len(explained[0].classes) + 1))]
    rows = [[str(image.file), *(f"{c.class_name} {c.probability:.3f}" for c in image.classes)] for image in explained]
    if any(image.neighbors for image in explained):
        columns.append("nearest training images")
        for row, image in zip(rows, explained, strict=True):
            row.append(", ".join(f"{near.class_name} {near.similarity:.2f}" for near, _ in image.neighbors or []))
    screen.table(columns, rows, left=len(columns))
    screen.print("", f"wrote {sheet}, with a folder of images for each file beside it")
