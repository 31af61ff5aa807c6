"""Where a value goes: follow a parameter through the calls that pass it on, or an attribute of it.

Static, from the syntax trees alone. A name holds the value when it is the parameter itself, was assigned it, or is an
attribute of the parameter's name (``plan.config``); a copy, and what a function annotated with ``TrainConfig`` returns,
is the value again. Calls are resolved by a module's imports, by ``self``, and by method names that only one class of
the package has. Calls through variables are not followed.

    python -m tests.walk frostline.runs.fit fit config
"""

import ast
import sys
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property

from tests.test_architecture import ROOT, layer, module_name

Function = ast.FunctionDef | ast.AsyncFunctionDef
Stay = tuple[str, str, str]  # module, function or Class.method, parameter


@dataclass
class Walk:
    """Every function that a value is passed to, and the calls that pass it."""

    stays: set[Stay] = field(default_factory=set)
    calls: set[tuple[Stay, Stay]] = field(default_factory=set)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Functions, modules and steps up."""
        functions = {(module, name) for module, name, _ in self.stays}
        return len(functions), len({module for module, _ in functions}), len(self.steps_up)

    @property
    def steps_up(self) -> set[tuple[str, str]]:
        """Calls of functions in layers above the caller's (see tests/test_architecture.py)."""
        return {(f"{a[0]}.{a[1]}", f"{b[0]}.{b[1]}") for a, b in self.calls if layer(b[0]) < layer(a[0])}


class House:
    """The package's functions, classes and imports."""

    def __init__(self) -> None:
        self.functions: dict[tuple[str, str], Function] = {}
        self.fields: dict[tuple[str, str], list[str]] = {}  # of classes without __init__
        self.imports: dict[str, dict[str, tuple[str, str]]] = {}
        for path in sorted(ROOT.rglob("*.py")):
            self._read(module_name(path), ast.parse(path.read_text(encoding="utf-8")))

    def _read(self, module: str, tree: ast.Module) -> None:
        names = self.imports.setdefault(module, {})
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("frostline"):
                names |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
        for node in tree.body:
            if isinstance(node, Function):
                self.functions[module, node.name] = node
            elif isinstance(node, ast.ClassDef):
                self.fields[module, node.name] = [
                    item.target.id
                    for item in node.body
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
                ]
                for item in node.body:
                    if isinstance(item, Function):
                        self.functions[module, f"{node.name}.{item.name}"] = item

    @cached_property
    def methods(self) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for module, name in self.functions:
            if "." in name:
                found.setdefault(name.split(".")[1], []).append((module, name))
        return found

    def target(self, module: str, name: str, called: ast.expr) -> tuple[str, str] | None:
        """Return the function of the package that a call in a function means."""
        if isinstance(called, ast.Name):
            place = self.imports[module].get(called.id, (module, called.id))
            if place in self.functions:
                return place
            if place in self.fields:
                made = (place[0], f"{place[1]}.__init__")
                return made if made in self.functions else place
        if isinstance(called, ast.Attribute):
            if isinstance(called.value, ast.Name) and called.value.id == "self":
                own = (module, f"{name.split('.', maxsplit=1)[0]}.{called.attr}")
                if own in self.functions:
                    return own
            several = self.methods.get(called.attr, [])
            return several[0] if len(several) == 1 else None
        return None

    def is_property(self, place: tuple[str, str]) -> bool:
        """Whether an attribute is computed by a method."""
        decorators = self.functions[place].decorator_list if place in self.functions else []
        return any(isinstance(name, ast.Name) and name.id in ("property", "cached_property") for name in decorators)

    def parameters(self, place: tuple[str, str]) -> list[str]:
        """Return the parameters of a function, or the fields of a dataclass."""
        if place not in self.functions:
            return self.fields[place]
        arguments = self.functions[place].args
        names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        return names[1:] if names[:1] in (["self"], ["cls"]) else names


def walk(module: str, function: str, parameter: str, *, attributes: bool = True) -> Walk:
    """Follow a parameter from a function on, and from every function below it that reads an attribute of its name.

    Without ``attributes`` only the value itself is followed, not what is read from it, such as ``config.seed``.
    """
    house, found = House(), Walk()
    reached = _reached(house, (module, function))
    waiting = deque(
        [
            (module, function, parameter),
            *((*place, f".{parameter}") for place in reached if _reads(house, place, parameter)),
        ]
    )
    found.stays |= set(waiting)
    while waiting:
        stay = waiting.popleft()
        for following in _passed_on(house, stay, parameter, attributes=attributes):
            found.calls.add((stay, following))
            if following not in found.stays:
                found.stays.add(following)
                waiting.append(following)
    return found


def _reached(house: House, start: tuple[str, str]) -> set[tuple[str, str]]:
    """Return every function that one calls, directly or not."""
    reached, waiting = {start}, deque([start])
    while waiting:
        module, name = waiting.popleft()
        if (module, name) not in house.functions:
            continue
        for node in ast.walk(house.functions[module, name]):
            called = node.func if isinstance(node, ast.Call) else node
            place = house.target(module, name, called) if isinstance(called, ast.Attribute | ast.Name) else None
            if place is not None and not isinstance(node, ast.Call) and not house.is_property(place):
                continue
            if place is not None and place not in reached:
                reached.add(place)
                waiting.append(place)
    return reached


def _reads(house: House, place: tuple[str, str], word: str) -> bool:
    """Whether a function reads an attribute of some name."""
    nodes = ast.walk(house.functions[place]) if place in house.functions else ()
    return any(isinstance(node, ast.Attribute) and node.attr == word for node in nodes)


def _passed_on(house: House, stay: Stay, word: str, *, attributes: bool) -> list[Stay]:
    """Return the functions that one hands the value to."""
    module, name, parameter = stay
    node = house.functions.get((module, name))
    if node is None:
        return []
    held = {parameter}

    def holds(value: ast.expr) -> bool:
        if isinstance(value, ast.Name):
            return value.id in held
        if isinstance(value, ast.Attribute):
            return value.attr == word or (attributes and holds(value.value))
        if isinstance(value, ast.Starred):
            return holds(value.value)
        if isinstance(value, ast.Call):
            return _keeps(house, module, name, value) and any(
                map(holds, [*value.args, *([value.func.value] if isinstance(value.func, ast.Attribute) else [])])
            )
        return isinstance(value, ast.BoolOp) and any(map(holds, value.values))

    for inner in ast.walk(node):
        if isinstance(inner, ast.Assign):
            for target in inner.targets:
                names, values = [target], [inner.value]
                if isinstance(target, ast.Tuple) and isinstance(inner.value, ast.Tuple):
                    names, values = list(target.elts), list(inner.value.elts)
                held |= {n.id for n, v in zip(names, values, strict=False) if isinstance(n, ast.Name) and holds(v)}
    passed = []
    for call in ast.walk(node):
        if not isinstance(call, ast.Call):
            continue
        place = house.target(module, name, call.func)
        if place is None:
            continue
        names = house.parameters(place)
        given = [*zip(names, call.args, strict=False), *((k.arg, k.value) for k in call.keywords if k.arg in names)]
        passed += [(*place, str(key)) for key, value in given if holds(value)]
    return passed


def _keeps(house: House, module: str, name: str, call: ast.Call) -> bool:
    """Whether what a call gives is the value again, changed: a copy, or what a function is annotated to return."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "model_copy":
        return True
    node = house.functions.get(house.target(module, name, call.func) or ("", ""))
    return node is not None and isinstance(node.returns, ast.Name) and node.returns.id == "TrainConfig"


if __name__ == "__main__":
    for attributes in (False, True):
        found = walk(*sys.argv[1:4], attributes=attributes)
        print("", *(".".join(stay[:2]) + " " + stay[2] for stay in sorted(found.stays)), sep="\n")
        print("", *(f"{caller} -> {called}" for caller, called in sorted(found.steps_up)), sep="\n")
        print("with attributes" if attributes else "itself", found.counts)
