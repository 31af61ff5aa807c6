"""The weight file: float16 safetensors in torchvision's layout, with the record of how it was made inside."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from frostline._utils.hashing import sha256_file
from frostline._utils.storage import write_bytes
from frostline.errors import WeightsError
from frostline.models.weights import RECORD


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
