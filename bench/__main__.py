"""Run one of the benchmarks, or list them.

    python -m bench list
    python -m bench NAME [options]

Start it in the repository's root, with Frostline installed. `python -m bench NAME --help` says what a benchmark
measures and prints.
"""

import ast
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path


def benchmarks() -> dict[str, str]:
    """Return each benchmark's name and docstring, without importing any."""
    paths = [path for path in sorted(Path(__file__).parent.glob("*.py")) if not path.name.startswith("_")]
    return {path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for path in paths}


def listing() -> str:
    """Return a line for each benchmark: what it shows, and how long it takes."""
    found = benchmarks()
    width = max(map(len, found))
    lines = []
    for name, doc in found.items():
        first, *_, last = doc.splitlines()
        lines.append(f"{name:{width}}  {first} {last}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments name; return the exit code."""
    name, *rest = arguments or ["list"]
    if name in ("-h", "--help"):
        print(f"{__doc__}\n{listing()}")
        return 0
    if name == "list":
        print(listing())
        return 0
    known = benchmarks()
    if name not in known:
        close = difflib.get_close_matches(name, ["list", *known], n=1)
        advice = f"did you mean {close[0]}?" if close else "`python -m bench list` names them all."
        print(f"There is no benchmark {name!r}: {advice}", file=sys.stderr)
        return 2
    importlib.import_module(f"bench.{name}").main(rest)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
