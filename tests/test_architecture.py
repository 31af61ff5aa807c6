"""The house has floors: a module imports from its own folder and from floors above, never from below or in a ring."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import frostline

ROOT = Path(frostline.__file__).parent
GROUND = {
    "config",
    "files",
    "hashing",
    "manifest",
    "device",
    "storage",
    "download",
    "progress",
    "templates",
    "evaluation",
}
FLOORS = [
    {"text"},
    {"errors"},
    GROUND,
    {"images", "networks"},
    {"activations"},
    {"training"},
    {"pipeline", "pretrain"},
    {"runs"},
    {"experiments", "report", "exporting", "sklearn"},
    {"serve"},
    {"cli"},
    {"__main__"},
]


def folder(module: str) -> str:
    """``frostline.images.idx`` stands in ``images``, ``frostline.config`` is its own."""
    return module.split(".")[1]


def floor(module: str) -> int:
    return next(number for number, names in enumerate(FLOORS) if folder(module) in names)


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
    """Imports that run down, or across to another folder of the same floor."""
    faults = []
    for module, targets in imports.items():
        for target in sorted(targets):
            ground = {folder(module), folder(target)} <= GROUND
            if folder(module) != folder(target) and not ground and floor(target) >= floor(module):
                faults.append(f"{module} imports {target}")
    return faults


def ring(imports: dict[str, set[str]]) -> list[str]:
    """A ring of modules that import each other, or nothing."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_module_stands_on_a_floor() -> None:
    known = set().union(*FLOORS)
    assert {folder(module) for module in house()} <= known


def test_no_import_runs_down_or_across() -> None:
    assert wrong_way(house()) == []


def test_no_modules_import_each_other_in_a_ring() -> None:
    assert ring(house()) == []


def test_every_import_of_ours_is_a_module_that_exists() -> None:
    imports = house()
    assert set().union(*imports.values()) <= set(imports)


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("frostline.images.idx", "from frostline.cli import main", "frostline.cli"),
        ("frostline.images.idx", "def f():\n    import frostline.training.loop", "frostline.training.loop"),
        ("frostline.images.idx", "from ..networks import heads", "frostline.networks"),
        ("frostline.errors", "from frostline.config import TrainConfig", "frostline.config"),
    ],
)
def test_wrong_import_is_seen(module: str, source: str, fault: str) -> None:
    assert wrong_way({module: imported(source, module, set())}) == [f"{module} imports {fault}"]


def test_ring_is_seen() -> None:
    assert set(ring({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
