"""What a run was begun with: it goes on with the same images and weights, or not at all."""

from dataclasses import asdict, replace
from typing import Any

from frostline.models.backbone import Backbone
from frostline.pipeline.split import RunSplits
from frostline.runs.folder import Run
from frostline.runs.schemas import SplitRecord

NAMES = {"train": "training", "val": "validation", "test": "test"}


def data_facts(splits: RunSplits) -> dict[str, Any]:
    """Return what ``data.json`` holds: of each split how many images, and a digest of content, order and labels."""
    return {name: {"images": len(part), "fingerprint": part.fingerprint} for name, part in splits.by_name.items()}


def weights_facts(backbone: Backbone) -> dict[str, Any]:
    """Return what ``data.json`` holds of the weights: where they came from, and why these."""
    return {"weights": asdict(backbone.origin)} if backbone.origin else {}


def with_recorded_reason(run: Run, backbone: Backbone) -> None:
    """Give the weights the reason that was noted when the run was begun: now they are no more than those it names."""
    recorded = run.begin_record.weights
    if recorded is not None and backbone.origin is not None:
        backbone.origin = replace(backbone.origin, reason=recorded.reason)


def check_same_data(run: Run, splits: RunSplits) -> None:
    """Refuse to go on with other images than those a run was begun with.

    Raises
    ------
    RunError
        When images came, went or changed, or ``data.json`` is missing or damaged.
    """
    then, now = run.begin_record, data_facts(splits)
    before = {"train": then.train, "val": then.val, "test": then.test}
    changes = [
        _change(NAMES[name], split, now[name]) for name, split in before.items() if split.model_dump() != now[name]
    ]
    if changes:
        raise run.output.changed_error(f"other images ({'; '.join(changes)})", "restore the images")


def _change(name: str, then: SplitRecord, now: dict[str, Any]) -> str:
    if then.images == now["images"]:
        return f"{name}: {now['images']:,} as before, but not the same"
    return f"{name}: {then.images:,} then, {now['images']:,} now"
