"""The stages of a model that Frostline trained, as weights that another run begins with.

Networks know nothing of runs: what is read here is the bundle alone, ``model.json`` and ``model.safetensors``, checked
by the digests that its folder's manifest and its description hold.
"""

from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, Field

from frostline._utils.files import fit_schema, read_bytes, read_tensors, reading
from frostline._utils.hashing import digest_file
from frostline._utils.manifest import read_manifest
from frostline.errors import WeightsError

DESCRIPTION, TENSORS = "model.json", "model.safetensors"
REMEDY = "copy it again, or give other --weights"


class _Boundary(BaseModel):
    end: str


class _BundleDescription(BaseModel):
    network: str
    boundary: _Boundary
    blake2b: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


def find_bundle(folder: Path) -> Path | None:
    """Return the folder of the model in a run's folder, or in a bundle's own."""
    return next((place for place in (folder / "model", folder) if (place / DESCRIPTION).is_file()), None)


def read_stages(bundle: Path, network: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a trained model's stages, by the names that they have in their `Backbone`.

    Parameters
    ----------
    bundle : Path
    network : str
        Whose they must be.

    Raises
    ------
    WeightsError
        When they are another network's, or the bundle is damaged.
    """
    path = bundle / TENSORS
    with reading(bundle / DESCRIPTION, WeightsError, REMEDY):
        manifest = read_manifest(bundle, REMEDY)
        about = read_bytes(bundle / DESCRIPTION) if manifest is None else manifest.read(DESCRIPTION)
    description = fit_schema(_BundleDescription, about, bundle / DESCRIPTION, WeightsError, REMEDY)
    if description.network != network:
        raise WeightsError(
            f"{bundle} is a model of {description.network}, and {network} is asked for: "
            f"give --model {description.network}, or other --weights."
        )
    with reading(path, WeightsError, REMEDY):
        tensors, _ = read_tensors(path)
        digest = digest_file(path)
    if digest != description.blake2b:
        raise WeightsError(f"{path} is damaged (its checksum is wrong): {REMEDY}.")
    return {key: tensor for key, tensor in tensors.items() if key.startswith("stages.")}
