"""Write the weight file: float16 safetensors in torchvision's layout, with a record of how it was made."""

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
    """Write the weights atomically; return the file's SHA-256.

    Raises
    ------
    WeightsError
        If a weight is NaN or too large for float16.
    StorageError
    """
    halves = {key: value.half().contiguous() for key, value in state.items()}
    for key, value in halves.items():
        if not torch.isfinite(value).all():
            raise WeightsError(f"'{key}' holds values outside the range of float16: the training diverged; lower lr.")
    write_bytes(path, save(halves, {RECORD: json.dumps(record)}), "--output chooses another place")
    return sha256_file(path)
