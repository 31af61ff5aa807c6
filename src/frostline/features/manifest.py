"""The list of a store's shards, with a checksum of its own: what is not listed does not exist."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from frostline._utils.files import fault_of, read_bytes
from frostline._utils.hashing import digest_json
from frostline._utils.progress import log
from frostline._utils.storage import OTHER_CACHE, write_json
from frostline.errors import storage_error
from frostline.features.shard import ShardEntry

MANIFEST = "manifest.json"


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    shards: list[ShardEntry]
    checksum: str


def write_manifest(folder: Path, entries: Sequence[ShardEntry]) -> None:
    """List the shards, with a checksum of the list itself."""
    shards = [entry.model_dump() for entry in entries]
    write_json(folder / MANIFEST, {"shards": shards, "checksum": digest_json(shards)}, OTHER_CACHE)


def read_manifest(folder: Path) -> list[ShardEntry]:
    """Return the listed shards; none, with a warning, when the list is damaged.

    Raises
    ------
    StorageError
        When the list is out of reach, or what has its name is no file.
    """
    path = folder / MANIFEST
    try:
        return parse_manifest(read_bytes(path))
    except FileNotFoundError:
        return []
    except ValueError as error:
        log.warning("%s is damaged (%s): its rows are computed again", path, fault_of(error))
        return []
    except OSError as error:
        raise storage_error(error, path, OTHER_CACHE) from error


def parse_manifest(data: bytes) -> list[ShardEntry]:
    """Return the shards that the content of a manifest lists.

    Raises
    ------
    ValueError
        When it is no manifest, or its checksum is wrong.
    """
    listed = _Manifest.model_validate_json(data)
    if listed.checksum != digest_json([entry.model_dump() for entry in listed.shards]):
        raise ValueError("its checksum is wrong")
    if len({entry.number for entry in listed.shards}) != len(listed.shards):
        raise ValueError("it lists a shard twice")
    return listed.shards
