"""Every command and every Python snippet of the README runs, in the README's order, in one folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.images.dataset import Splits
from tests.class_folders import write_classes
from tests.conftest import Frostline

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Full-size trainings take minutes; the same commands run here on few images.
SMALLER = ["--limit", "300", "--image-size", "64"]
QUICKER = {
    "train": [*SMALLER, "--no-report", "--epochs", "2"],
    "find-lr": [*SMALLER, "--steps", "10"],
    "curve": [*SMALLER, "--labels", "1,5", "--repeats", "1", "--seconds-per-point", "1"],
    "tune": [*SMALLER, "--trials", "3"],
    "audit": SMALLER,
    "pretrain --images": ["--images", "64"],
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def quicker(words: list[str]) -> list[str]:
    """What makes a command of ours quicker; those that say themselves how many images they take keep that."""
    if "--limit" in words:
        return []
    return next((more for begin, more in QUICKER.items() if words[1 : 1 + len(begin.split())] == begin.split()), [])


def commands(program: str) -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True)) and words[0] == program]


@pytest.fixture
def place(tmp_path: Path, fashion: Splits) -> Path:
    """A folder with the pictures that the README speaks of."""
    write_classes(tmp_path / "photos", fashion.train)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, image in enumerate(np.asarray(fashion.test.images[:3])):
        Image.fromarray(image).save(pictures / f"garment-{number}.png")
    return tmp_path


def test_commands_and_snippets_run(place: Path, frostline: Frostline) -> None:
    ran = commands("frostline")
    assert len(ran) >= 10
    for words in ran:
        done = frostline(*words[1:], *quicker(words))
        assert done.returncode == 0, f"{shlex.join(words)}: {done.stderr}"
    for snippet in blocks("python"):
        done = subprocess.run([sys.executable, "-c", snippet], cwd=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{snippet}: {done.stderr}"


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_make_knows_the_targets(words: list[str]) -> None:
    done = subprocess.run([*words, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
