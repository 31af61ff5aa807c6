"""Which pictures a run was begun with: it goes on with the same, or not at all."""

import json
from typing import Any

from frostline.errors import RunError
from frostline.runs.choose import Parts
from frostline.runs.folder import Run

NAMES = {"train": "training", "val": "validation", "test": "test"}


def data_facts(parts: Parts) -> dict[str, Any]:
    """Return what ``data.json`` holds: of each split how many pictures, and a digest of content, order and labels."""
    return {name: {"images": len(part), "fingerprint": part.fingerprint} for name, part in vars(parts).items()}


def check_same_data(run: Run, parts: Parts) -> None:
    """Refuse to go on with other pictures than those a run was begun with.

    Raises
    ------
    RunError
        When pictures came, went or changed, or ``data.json`` is missing or damaged.
    """
    path, now = run.folder / "data.json", data_facts(parts)
    try:
        then = json.loads(path.read_text(encoding="utf-8"))
        changes = [_change(NAMES[name], then[name], now[name]) for name in now if then[name] != now[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} does not say which pictures run '{run.name}' was begun with, so it cannot go on: "
            "--overwrite it, or choose another --name."
        ) from error
    if changes:
        raise RunError(
            f"run '{run.name}' was begun with other pictures ({'; '.join(changes)}): "
            "put back what was there to resume, or --overwrite the run."
        )


def _change(name: str, then: dict[str, Any], now: dict[str, Any]) -> str:
    if then["images"] == now["images"]:
        return f"{name}: {now['images']:,} as before, but not the same"
    return f"{name}: {then['images']:,} then, {now['images']:,} now"
