"""`python -m bench`: its list, its errors, and each benchmark's help. None is run: each takes minutes."""

import importlib
import re
from pathlib import Path

import pytest

from bench.__main__ import benchmarks, main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.md")]
SOURCES = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
NAMED = re.compile(r"bench/(\w+)\.py|python (?:-m )?bench[ /](\w+)")


def test_the_list_has_a_line_for_each_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    files = {path.stem for path in (ROOT / "bench").glob("*.py")} - {"__init__", "__main__"}
    assert {line.split()[0] for line in lines} == files
    for line in lines:
        assert re.fullmatch(r"\w+ +[A-Z].*\? About .* on 2 cores.*\.", line), line


@pytest.mark.parametrize(
    ("name", "advice"),
    [("atack", "did you mean attack?"), ("nothing", "`python -m bench list` names them all.")],
)
def test_an_unknown_name_is_exit_code_2(name: str, advice: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"There is no benchmark '{name}': {advice}\n")


@pytest.mark.parametrize("name", benchmarks())
def test_help_says_the_question_and_the_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"bench.{name}").main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"python -m bench {name}" in text and benchmarks()[name].splitlines()[0] in text


def test_benchmarks_that_are_named_exist() -> None:
    known = {*benchmarks(), "list", "NAME"}
    for path in [*PAGES, *SOURCES]:
        for names in NAMED.findall(path.read_text(encoding="utf-8")):
            assert set(filter(None, names)) <= known, f"{path.relative_to(ROOT)} names {names}"
