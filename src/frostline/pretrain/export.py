"""The weight file: float16 safetensors in torchvision's layout, with the record of how it was made inside."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from frostline.errors import WeightsError
from frostline.hashing import sha256_file
from frostline.storage import write_bytes

RECORD = "frostline"  # key of the record in the file's metadata


def write_weights(state: Mapping[str, torch.Tensor], path: Path, record: dict[str, Any]) -> str:
    """Write the weights whole or not at all; return the file's SHA-256.

    Raises
    ------
    WeightsError
        When a weight is no number or too large for float16.
    StorageError
    """
    halves = {key: value.half().contiguous() for key, value in state.items()}
    for key, value in halves.items():
        if not torch.isfinite(value).all():
            raise WeightsError(f"'{key}' holds numbers that float16 cannot: the training came off its rails; lower lr.")
    write_bytes(path, save(halves, {RECORD: json.dumps(record)}), "--output chooses another place")
    return sha256_file(path)


def read_record(path: Path) -> dict[str, Any]:
    """Return the record inside a file that `write_weights` wrote.

    Raises
    ------
    WeightsError
    """
    import safetensors

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            record: dict[str, Any] = json.loads(file.metadata()[RECORD])
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} has no record of a pre-training by Frostline inside.") from error
    return record
