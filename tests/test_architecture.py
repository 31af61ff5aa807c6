"""Folders are layers: a module imports from its own and from those above it, never from below or in a ring."""

import ast
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import frostline

ROOT = Path(frostline.__file__).parent
# From the first to the last: each may import from its own folder and from those above it in this list.
LAYERS = [
    "_utils.text",
    "errors",
    "_utils",
    "config",
    "synthetic",
    "data",
    "models",
    "features",
    "training",
    "evaluation",
    "pipeline",
    "runs",
    "inference",
    "studies",
    "report",
    "exporters",
    "sklearn",
    "serve",
    "cli",
    "__main__",
]


def layer(module: str) -> int:
    """``frostline.data.fashion_mnist`` belongs to ``data``."""
    name = module.removeprefix("frostline.")
    return next(number for number, place in enumerate(LAYERS) if name == place or name.startswith(f"{place}."))


def module_name(path: Path) -> str:
    parts = ("frostline", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, module: str, modules: set[str]) -> set[str]:
    """Our modules that a source imports, at its top or inside a function; the package itself is exempt."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            start = ".".join(part for part in (base, node.module) if part)
            # `from package import name`: the name may be a module of that package
            names = [f"{start}.{a.name}" if f"{start}.{a.name}" in modules else start for a in node.names]
        else:
            continue
        found |= {name for name in names if name.startswith("frostline.")}
    return found - {module}


def house() -> dict[str, set[str]]:
    """Every module with what it imports."""
    files = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
    del files["frostline"]
    return {name: imported(path.read_text(encoding="utf-8"), name, set(files)) for name, path in files.items()}


def wrong_way(imports: dict[str, set[str]]) -> list[str]:
    """Imports from layers further down the list."""
    faults = []
    for module, targets in imports.items():
        faults += [f"{module} imports {target}" for target in sorted(targets) if layer(target) > layer(module)]
    return faults


def ring(imports: dict[str, set[str]]) -> list[str]:
    """A ring of modules that import each other, or nothing."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_module_belongs_to_a_layer() -> None:
    assert {layer(module) for module in house()} == set(range(len(LAYERS)))


def test_no_import_leads_down_the_list() -> None:
    assert wrong_way(house()) == []


def test_no_modules_import_each_other_in_a_ring() -> None:
    assert ring(house()) == []


def test_no_class_name_is_defined_twice() -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in ROOT.rglob("*.py")]
    counts = Counter(node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef))
    assert [name for name, count in counts.items() if count > 1] == []


def test_every_import_of_ours_is_a_module_that_exists() -> None:
    imports = house()
    assert set().union(*imports.values()) <= set(imports)


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("frostline.data.fashion_mnist", "from frostline.cli import main", "frostline.cli"),
        (
            "frostline.data.fashion_mnist",
            "def f():\n    import frostline.training.trainer",
            "frostline.training.trainer",
        ),
        ("frostline.data.fashion_mnist", "from ..models import heads", "frostline.models"),
        ("frostline.errors", "from frostline.config import TrainConfig", "frostline.config"),
    ],
)
def test_wrong_import_is_seen(module: str, source: str, fault: str) -> None:
    assert wrong_way({module: imported(source, module, set())}) == [f"{module} imports {fault}"]


def test_ring_is_seen() -> None:
    assert set(ring({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
