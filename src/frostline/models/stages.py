"""Any network's stages, found from its own structure: where one tensor alone goes on, there it can be cut.

The forward pass is recorded once (torch.fx), parts of the network as black boxes; a part that holds too much is opened
and recorded again. Before each part with a weight matrix a cut is possible when a single value crosses. What has no
such weights (batch norm, ReLU, pooling, dropout, adding positions) belongs to the part before it.
"""

import copy
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from frostline.errors import ConfigError, StorageError, UnknownNameError, first_line

FEWEST_STAGES = 4  # a network with fewer parts than that below its head has its largest part opened


@dataclass(frozen=True)
class Cut:
    """A network in pieces.

    Attributes
    ----------
    stages : list of (str, nn.Module)
        In the order they run; each maps the tensor that the one before gives. They share the network's weights, at the
        keys that those have in the network's own state dict.
    head : nn.Module or None
        What follows the last stage.
    """

    stages: list[tuple[str, nn.Module]]
    head: nn.Module | None


def cut(network: nn.Module, name: str, ends: Sequence[str] | None = None) -> Cut:
    """Cut a network into stages.

    Parameters
    ----------
    network : nn.Module
        Maps images (B, 3, S, S) to one tensor; put into eval mode.
    name : str
        What messages call it.
    ends : sequence of str, optional
        Modules of the network (``layer1``, ``blocks.3``), in the order they run: each is the last of a stage. What
        follows the last one is the head. When left out, the parts below the network's own classifier.

    Raises
    ------
    ConfigError
        When the forward pass cannot be recorded, or more than one value crosses a cut that was asked for.
    UnknownNameError
        When there is no such module.
    """
    network.eval()
    if ends is None:
        recording, parts = _opened(network, name)
    else:
        recording = _record(network, name, _above(ends))
        parts = _named(recording, name, ends)
    places = [recording.begin_after(part) for part in parts]
    names = _short([str(part.target) for part in parts])
    stages: list[tuple[str, nn.Module]] = []
    begin, value = 0, recording.entry
    for stage_name, place in zip(names, places, strict=True):
        crossing = recording.crossing(place)
        if crossing is None:
            if ends is not None:
                raise ConfigError(f"{name} cannot be cut after '{stage_name}': more than one value goes on from there.")
            continue  # the stage goes on up to the next place
        stages.append((stage_name, recording.piece(network, begin, place, value, crossing)))
        begin, value = place, crossing
    rest = recording.nodes[begin:]
    head = recording.piece(network, begin, len(recording.nodes), value, recording.result) if rest else None
    if not stages:
        raise ConfigError(f"{name} has no place where it can be cut: one value alone must go on from there.")
    return Cut(stages, head)


class _Recording:
    """The steps of a forward pass, in order, without its entry, its parameters and its result."""

    def __init__(self, graph: fx.Graph, network: nn.Module) -> None:
        self.entry = next(node for node in graph.nodes if node.op == "placeholder")
        (output,) = (node for node in graph.nodes if node.op == "output")
        self.result = output.args[0]
        self.nodes = [node for node in graph.nodes if node.op in ("call_module", "call_function", "call_method")]
        order = {node: index for index, node in enumerate(self.nodes)}
        last = len(self.nodes)
        self._last_use = {node: max((order.get(user, last) for user in node.users), default=-1) for node in graph.nodes}
        self._weights = {node: _weights(network, node) for node in self.nodes}

    @property
    def parts(self) -> list[fx.Node]:
        """The steps with weights of two dimensions or more, such as convolutions, or modules that hold some."""
        return [node for node in self.nodes if self._weights[node]]

    def size(self, part: fx.Node) -> int:
        """Return how many weight matrices a part holds."""
        return len(self._weights[part])

    def begin_after(self, part: fx.Node) -> int:
        """Return the index of the next step with weights, or of the end."""
        following = range(self.nodes.index(part) + 1, len(self.nodes))
        return next((index for index in following if self._weights[self.nodes[index]]), len(self.nodes))

    def crossing(self, place: int) -> fx.Node | None:
        """Return the one value that the steps from ``place`` on need of those before, if it is one."""
        values = [node for node in (self.entry, *self.nodes[:place]) if self._last_use[node] >= place]
        below = {weight for node in self.nodes[:place] for weight in self._weights[node]}
        shared = any(weight in below for node in self.nodes[place:] for weight in self._weights[node])
        return values[0] if len(values) == 1 and not shared else None

    def piece(self, network: nn.Module, begin: int, end: int, value: fx.Node, result: Any) -> fx.GraphModule:
        """Return the steps from ``begin`` to ``end`` as a module from one value to another."""
        graph = fx.Graph()
        copies = {value: graph.placeholder("x")}

        def copy(node: fx.Node) -> fx.Node:
            if node not in copies:  # a parameter of the network's own, such as a class token
                copies[node] = graph.node_copy(node, copy)
            return copies[node]

        for node in self.nodes[begin:end]:
            copies[node] = graph.node_copy(node, copy)
        graph.output(fx.map_arg(result, copy))
        return fx.GraphModule(network, graph).eval()


class _Tracer(fx.Tracer):
    """Records a network's forward pass on its first argument; only modules that are opened are looked into."""

    def __init__(self, opened: Iterable[str]) -> None:
        super().__init__(param_shapes_constant=True)
        self._opened = {"network", *(f"network.{name}" for name in opened)}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self._opened


class _OneArgument(nn.Module):
    """Further arguments of a forward pass (a mask, say) keep their defaults."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> Any:
        return self.network(x)


def _record(network: nn.Module, name: str, opened: Iterable[str]) -> _Recording:
    try:
        graph = _Tracer(opened).trace(_OneArgument(network))
    except Exception as error:  # whatever a network's own code makes of values that are not there yet
        raise ConfigError(
            f"{name} cannot be cut into stages: its forward pass cannot be recorded ({first_line(error)})."
        ) from error
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            node.target = node.target.removeprefix("network.")
    recording = _Recording(graph, network)
    if not recording.parts:
        raise ConfigError(f"{name} cannot be cut into stages: none of its modules has weights.")
    return recording


def _opened(network: nn.Module, name: str) -> tuple[_Recording, list[fx.Node]]:
    """Open the largest part until enough of them lie below the classifier."""
    classifier = _classifier(network)
    opened, closed = _above([classifier] if classifier else []), set[str]()
    recording = _record(network, name, opened)
    while True:
        below = _below_head(recording, classifier)
        if len(below) >= FEWEST_STAGES:
            return recording, below
        candidates = [part for part in below if str(part.target) not in closed and recording.size(part) > 1]
        if not candidates:
            return recording, below
        largest = str(max(candidates, key=recording.size).target)
        try:
            deeper = _record(network, name, {*opened, largest})
        except ConfigError:
            closed.add(largest)
            continue
        opened.add(largest)
        recording = deeper


def _classifier(network: nn.Module) -> str | None:
    """Return the name of the module that timm's networks call their classifier."""
    known = getattr(network, "get_classifier", None)
    found = known() if callable(known) else None
    return next((path for path, module in network.named_modules() if module is found and path), None)


def _below_head(recording: _Recording, classifier: str | None) -> list[fx.Node]:
    """Return the parts below the classifier; the last part is it when none is known."""
    steps = [str(node.target) for node in recording.nodes]
    end = steps.index(classifier) if classifier in steps else recording.nodes.index(recording.parts[-1])
    return [part for part in recording.parts if recording.nodes.index(part) < end]


def _named(recording: _Recording, name: str, ends: Sequence[str]) -> list[fx.Node]:
    steps = {str(node.target): node for node in recording.nodes if node.op == "call_module"}
    for end in ends:
        if end not in steps:
            raise UnknownNameError(f"module of {name}", end, steps)
    order = [recording.nodes.index(steps[end]) for end in ends]
    if not order or order != sorted(set(order)):
        raise ConfigError(f"stages of {name}: expected modules in the order they run, each once: {', '.join(steps)}.")
    return [steps[end] for end in ends]


def _above(paths: Iterable[str]) -> set[str]:
    """Return every module that holds one of some."""
    pieces = [path.split(".") for path in paths]
    return {".".join(words[:depth]) for words in pieces for depth in range(1, len(words))}


def _weights(network: nn.Module, node: fx.Node) -> list[nn.Parameter]:
    if node.op != "call_module":
        return []
    return [weight for weight in network.get_submodule(str(node.target)).parameters() if weight.ndim > 1]


def _short(paths: Sequence[str]) -> list[str]:
    """Return names without dots: ``layer1`` for ``encoder.layer1``, ``blocks_3`` for ``blocks.3``."""
    words = [path.split(".") for path in paths]
    short = ["_".join(word[-2:] if word[-1].isdigit() else word[-1:]) for word in words]
    often = Counter(short)
    return ["_".join(word) if often[name] > 1 else name for name, word in zip(short, words, strict=True)]


TOLERANCE = 1e-4  # of the largest number that comes out; the steps are the same, so it is rounding at most


@torch.no_grad()
def stages_agree(network: nn.Module, pieces: Cut, image_size: int, name: str) -> None:
    """Run one image of noise through a network and through its stages.

    Raises
    ------
    ConfigError
        When one of them fails or they do not agree.
    """
    device = next(network.parameters()).device
    x = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        expected = network(x)
    except Exception as error:  # the network's own code
        raise ConfigError(
            f"{name} does not take images of {image_size} x {image_size} pixels in three colors "
            f"({first_line(error)}): say which image_size it was made for."
        ) from error
    for stage, module in [*pieces.stages, *([("head", pieces.head)] if pieces.head is not None else [])]:
        x = module(x)
        if not isinstance(x, torch.Tensor):
            raise ConfigError(f"{name} cannot be cut after '{stage}': it gives {type(x).__name__}, not one tensor.")
    if not isinstance(expected, torch.Tensor) or x.shape != expected.shape:
        raise ConfigError(f"{name} gives another kind of answer than its stages do: it cannot be cut.")
    if not torch.allclose(x, expected, rtol=0, atol=TOLERANCE * float(expected.abs().max())):
        raise ConfigError(f"{name} gives other numbers than its stages do: it cannot be cut.")


def accepts_size(stages: Sequence[nn.Module], image_size: int) -> bool:
    """Whether stages on torch's meta device can take images of a size; nothing is computed."""
    try:
        return math.prod(output_shape(stages, image_size)) > 0
    except OSError as error:  # torch wants a folder for temporary files
        raise StorageError(
            f"cannot use a folder for temporary files ({error.strerror or first_line(error)}): free some space, or set "
            "TMPDIR to a folder that can be written."
        ) from error
    except Exception:  # a network's own code refuses a size in its own way
        return False


@torch.no_grad()
def output_shape(stages: Sequence[nn.Module], image_size: int) -> tuple[int, ...]:
    """Return the shape that stages on torch's meta device give for one image: (C, H, W), (N, C) or (F,)."""
    x = torch.empty(1, 3, image_size, image_size, device="meta")
    for stage in stages:
        x = stage(x)
    return tuple(x.shape[1:])


def accepted_sizes(stages: Sequence[nn.Module], own: int) -> tuple[int, bool]:
    """Return the smallest size that stages take, and whether their own is the only one."""
    shapes = [copy.deepcopy(stage).to("meta") for stage in stages]
    if not accepts_size(shapes, 2 * own):
        return own, True
    refused, taken = 0, own
    while taken - refused > 1:
        middle = (refused + taken) // 2
        refused, taken = (refused, middle) if accepts_size(shapes, middle) else (middle, taken)
    return taken, False
