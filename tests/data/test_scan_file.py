"""One look at a file: identity, hash, or why it cannot be used."""

import subprocess
import sys
from pathlib import Path

from frostline._utils.hashing import row_id_of_bytes
from frostline.data.dataset import Splits
from frostline.data.decoding.decode import decode_image
from frostline.data.scan_file import ScannedFile, scan_file
from frostline.data.splits import difference_hash
from tests.class_folders import write_classes, write_hostile


def test_a_look_has_identity_and_hash(tmp_path: Path, fashion: Splits) -> None:
    for path in write_classes(tmp_path, fashion.train, 8).rglob("*.*"):
        data = path.read_bytes()
        pixels = decode_image(data)
        assert scan_file(path) == ScannedFile(
            row_id_of_bytes(data), difference_hash(pixels), max(pixels.shape[:2]), None, scan_file(path).tones
        )


def test_hostile_files_are_named_with_a_reason(tmp_path: Path, fashion: Splits) -> None:
    for name, reason in write_hostile(tmp_path, fashion.train).items():
        look = scan_file(tmp_path / name)
        assert look.reason is not None and look.reason.startswith(reason)
        assert "\n" not in look.reason
    assert scan_file(tmp_path / "missing.png").reason == "cannot be opened: No such file or directory"
    assert scan_file(tmp_path).reason == "cannot be opened: it is a folder"


def test_the_processes_that_look_do_not_load_torch() -> None:
    code = "import sys, frostline.data.scan_file; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
