"""Every command and Python snippet of the documentation runs, page after page, in one folder with one cache."""

import os
import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from PIL import Image

import frostline as package
from frostline.cli.main import app
from frostline.data.dataset import Splits
from tests.class_folders import write_classes
from tests.commands import run_forked, run_snippet
from tests.conftest import Frostline
from tests.quick import quick_runs
from tools.pretraining.__main__ import app as tool
from tools.pretraining.__main__ import main

ROOT = Path(__file__).parents[1]
# Full-size trainings take minutes; the same commands run here on few images.
SMALLER = ["--limit", "300", "--image-size", "64"]
QUICKER = {
    "train": [*SMALLER, "--no-report", "--epochs", "2"],
    "find-lr": [*SMALLER, "--steps", "10"],
    "curve": [*SMALLER, "--labels", "1,5", "--repeats", "1", "--seconds-per-point", "1"],
    "tune": [*SMALLER, "--trials", "3"],
    "audit": [*SMALLER, "--fdr", "1"],  # few images prove no error
}
# A block of code, and the reason why it cannot run where there is one.
BLOCK = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>.+?) -->\n)?^(?P<indent> *)```(?P<language>\S+)\n(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
PRETRAINING = ["python", "-m", "tools.pretraining"]
SHELLS = {"bash", "sh", "shell", "console"}
# Options of pip, pipx, uvx, Docker, curl and Python; those of the benchmarks are looked up in their sources.
OTHER_OPTIONS = {
    "--constraint", "--editable", "--index-url", "--extra-index-url", "--pip-args", "--from", "--index", "--target",
    "--tag", "--rm", "--volume", "--user", "--data-binary", "--directory",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A block of code that runs: commands or one snippet."""

    page: str
    language: str
    code: str

    def commands(self) -> Iterator[list[str]]:
        """Yield the words of each command; a backslash continues a line."""
        for line in self.code.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def navigation(entry: Any) -> Iterator[str]:
    """Yield the pages of ``mkdocs.yml`` in their order."""
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from navigation(part)


@cache
def pages() -> dict[str, str]:
    """The README, then the site's pages in their order; pages that are generated have no file here."""
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    paths = [ROOT / "README.md", *(ROOT / "docs" / page for page in navigation(nav)), ROOT / "CONTRIBUTING.md"]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths if path.is_file()}


@cache
def blocks() -> list[Block]:
    """What runs, in order."""
    return [
        Block(page, found["language"], textwrap.dedent(found["code"]))
        for page, text in pages().items()
        for found in BLOCK.finditer(text)
        if found["reason"] is None and found["language"] in SHELLS | {"python"}
    ]


def shell_commands(program: str) -> list[tuple[str, list[str]]]:
    """Each page's commands of one program."""
    shells = [block for block in blocks() if block.language in SHELLS]
    return [(block.page, words) for block in shells for words in block.commands() if words[0] == program]


def quicker(words: list[str]) -> list[str]:
    """What makes a command of ours quicker; those that say themselves how many images they take keep that."""
    if "--limit" in words:
        return []
    more = next((more for begin, more in QUICKER.items() if words[1 : 1 + len(begin.split())] == begin.split()), [])
    if ("--freeze", "none") in pairwise(words):
        more = [*more, "--epochs", "1"]  # every stage is trained
    return [*more, "--head-epochs", "1"] if "--head-epochs" in words else more


@pytest.fixture
def place(tmp_path: Path, fashion: Splits) -> Path:
    """A folder with the images that the pages speak of."""
    write_classes(tmp_path / "photos", fashion.train)
    new = tmp_path / "new-images"
    new.mkdir()
    for number, image in enumerate(np.asarray(fashion.test.images[:3])):
        Image.fromarray(image).save(new / f"garment-{number}.png")
    return tmp_path


def pretraining(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the tool that made the bundled weights, on fewer images."""
    fewer = ["--images", "64"] if "--images" in words else []
    return run_forked([*words, *fewer], folder, dict(os.environ), 300, within=quick_runs, program=main)


def test_commands_and_snippets_run(place: Path, frostline: Frostline) -> None:
    """One test, since later commands use what earlier ones wrote; what was run once is not run again."""
    done: set[str] = set()
    for block in blocks():
        if block.language == "python" and block.code not in done:
            ran = run_snippet(block.code, place, dict(os.environ), 300, within=quick_runs)
            assert ran.returncode == 0, f"{block.page}: {block.code}: {ran.stderr}"
        done.add(block.code)
        for words in block.commands() if block.language in SHELLS else ():
            if shlex.join(words) not in done and (words[0] == "frostline" or words[:3] == PRETRAINING):
                ran = (
                    frostline(*words[1:], *quicker(words)) if words[0] == "frostline" else pretraining(words[3:], place)
                )
                assert ran.returncode == 0, f"{block.page}: {shlex.join(words)}: {ran.stderr}"
            done.add(shlex.join(words))


def test_readme_shows_both_kinds() -> None:
    shown = {block.language for block in blocks() if block.page == "README.md"}
    assert shown == {"bash", "python"}
    assert len({shlex.join(words) for _, words in shell_commands("frostline")}) >= 40


def test_blocks_that_run_have_our_commands_alone() -> None:
    others = [
        (block.page, words)
        for block in blocks()
        if block.language in SHELLS
        for words in block.commands()
        if words[0] not in ("frostline", "make") and words[:3] != PRETRAINING
    ]
    assert others == []


def test_all_pages_are_read() -> None:
    assert {path.name for path in (ROOT / "docs").glob("*.md")} == {Path(page).name for page in pages()} - {
        "README.md",
        "CONTRIBUTING.md",
    }


@pytest.mark.parametrize("command", sorted({shlex.join(words) for _, words in shell_commands("make")}))
def test_make_knows_the_targets(command: str) -> None:
    words = [*shlex.split(command), "--dry-run"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr


def test_files_that_are_named_exist() -> None:
    """Paths from the root of the repository, and modules from ``src/frostline``."""
    roots = (ROOT, ROOT / "src" / "frostline", ROOT / "tests" / "robustness")
    for page, text in pages().items():
        named = set(re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|ipynb|toml))`", text))
        named |= set(re.findall(r"\b((?:bench|tests|tools|src|scripts|examples)/[\w/-]+(?:\.\w+)?)", text))
        named -= {"config.toml"}  # of a run
        named = {path for path in named if "NAME" not in path}
        missing = [path for path in sorted(named) if not any((root / path).exists() for root in roots)]
        assert missing == [], page
        benchmarks = set(re.findall(r"python -m bench (\w+)", text)) - {"list", "NAME"}
        assert all((ROOT / "bench" / f"{name}.py").is_file() for name in benchmarks), page
    assert "python -m bench" in pages()["README.md"]


def options(command: Any) -> Iterator[str]:
    """Yield every option of a command and of those below it."""
    for parameter in command.get_params(command.make_context(command.name, [], resilient_parsing=True)):
        yield from (*parameter.opts, *parameter.secondary_opts)
    for part in getattr(command, "commands", {}).values():
        yield from options(part)


def test_options_that_are_named_exist() -> None:
    commands = (typer.main.get_command(one) for one in (app, tool))
    known = {"--help", *OTHER_OPTIONS, *(name for command in commands for name in options(command))}
    for path in (ROOT / "bench").glob("*.py"):
        for declared in re.findall(
            r"start\(\s*__doc__,\s*arguments(.*?)\)\n", path.read_text(encoding="utf-8"), re.DOTALL
        ):
            known |= {f"--{name.replace('_', '-')}" for name in re.findall(r"\b(\w+)=", declared)}
    for page, text in pages().items():
        named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)))
        assert named - known == set(), page


def test_reference_has_every_public_name() -> None:
    described = set(re.findall(r"^::: [\w.]+\.(\w+)$", pages()["docs/reference.md"], re.MULTILINE))
    assert set(package.__all__) <= described
