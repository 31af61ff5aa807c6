"""Find the stages of any network: it can be cut wherever a single tensor connects what is before and after.

The forward pass is recorded with torch.fx, with the parts of the network as single steps; a part that holds too much is
opened and recorded again. The network can be cut before each part with a weight matrix if a single value crosses there.
Steps without such weights (batch norm, ReLU, pooling, dropout, adding positions) belong to the part before them.
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

FEWEST_STAGES = 4  # in a network with fewer parts below its head the largest part is opened


@dataclass(frozen=True)
class Cut:
    """A network cut into stages and a head.

    Attributes
    ----------
    stages : list of (str, nn.Module)
        In the order they run, each from tensor to tensor. They share the network's weights, under the same state dict
        keys.
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
        The network's name in messages.
    ends : sequence of str, optional
        The last module of each stage (``layer1``, ``blocks.3``), in the order they run; the head follows the last one.
        By default the parts below the network's own classifier.

    Raises
    ------
    ConfigError
        If the forward pass cannot be recorded, or more than one value crosses a requested cut.
    UnknownNameError
        If there is no such module.
    """
    network.eval()
    if ends is None:
        recording, parts = _opened(network, name)
    else:
        recording = _record(network, name, _above(ends))
        parts = _named(recording, name, ends)
    places = [recording.next_start(part) for part in parts]
    names = _short([str(part.target) for part in parts])
    stages: list[tuple[str, nn.Module]] = []
    start, value = 0, recording.entry
    for stage_name, place in zip(names, places, strict=True):
        crossing = recording.crossing(place)
        if crossing is None:
            if ends is not None:
                raise ConfigError(f"{name} cannot be cut after '{stage_name}': more than one value is used after it.")
            continue  # the stage continues to the next place
        stages.append((stage_name, recording.piece(network, start, place, value, crossing)))
        start, value = place, crossing
    rest = recording.nodes[start:]
    head = recording.piece(network, start, len(recording.nodes), value, recording.result) if rest else None
    if not stages:
        raise ConfigError(f"{name} cannot be cut into stages: no place with a single connecting value was found.")
    return Cut(stages, head)


class _Recording:
    """The steps of a forward pass in order, without its input, parameters and output."""

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
        """The steps with weights of two or more dimensions, such as convolutions or modules that contain some."""
        return [node for node in self.nodes if self._weights[node]]

    def size(self, part: fx.Node) -> int:
        """Return the number of weight matrices in a part."""
        return len(self._weights[part])

    def next_start(self, part: fx.Node) -> int:
        """Return the index of the next step with weights, or the number of steps."""
        following = range(self.nodes.index(part) + 1, len(self.nodes))
        return next((index for index in following if self._weights[self.nodes[index]]), len(self.nodes))

    def crossing(self, place: int) -> fx.Node | None:
        """Return the one value that the steps from ``place`` on need from those before; None if there are several."""
        values = [node for node in (self.entry, *self.nodes[:place]) if self._last_use[node] >= place]
        below = {weight for node in self.nodes[:place] for weight in self._weights[node]}
        shared = any(weight in below for node in self.nodes[place:] for weight in self._weights[node])
        return values[0] if len(values) == 1 and not shared else None

    def piece(self, network: nn.Module, start: int, end: int, value: fx.Node, result: Any) -> fx.GraphModule:
        """Return the steps from ``start`` to ``end`` as a module from one value to another."""
        graph = fx.Graph()
        copies = {value: graph.placeholder("x")}

        def copy(node: fx.Node) -> fx.Node:
            if node not in copies:  # a parameter of the network itself, such as a class token
                copies[node] = graph.node_copy(node, copy)
            return copies[node]

        for node in self.nodes[start:end]:
            copies[node] = graph.node_copy(node, copy)
        graph.output(fx.map_arg(result, copy))
        return fx.GraphModule(network, graph).eval()


class _Tracer(fx.Tracer):
    """Records a network's forward pass on its first argument, with all but the opened modules as single steps."""

    def __init__(self, opened: Iterable[str]) -> None:
        super().__init__(param_shapes_constant=True)
        self._opened = {"network", *(f"network.{name}" for name in opened)}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self._opened


class _OneArgument(nn.Module):
    """Calls a network with one argument, so that others (a mask, say) have their defaults."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> Any:
        return self.network(x)


def _record(network: nn.Module, name: str, opened: Iterable[str]) -> _Recording:
    try:
        graph = _Tracer(opened).trace(_OneArgument(network))
    except Exception as error:  # a network's own code fails in its own way on symbolic values
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
    """Open the largest part until there are enough parts below the classifier."""
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
    """Return the name of a timm network's classifier."""
    getter = getattr(network, "get_classifier", None)
    found = getter() if callable(getter) else None
    return next((path for path, module in network.named_modules() if module is found and path), None)


def _below_head(recording: _Recording, classifier: str | None) -> list[fx.Node]:
    """Return the parts below the classifier, which by default is the last part."""
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
    """Return every module that contains one of ``paths``."""
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


TOLERANCE = 1e-4  # of the largest output; the steps are the same, so only rounding can differ


@torch.no_grad()
def stages_agree(network: nn.Module, pieces: Cut, image_size: int, name: str) -> None:
    """Check that a network and its stages agree on an image of noise.

    Raises
    ------
    ConfigError
        If one of them fails, or their outputs differ.
    """
    device = next(network.parameters()).device
    x = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        expected = network(x)
    except Exception as error:  # the network's own code
        raise ConfigError(
            f"{name} does not accept images of {image_size} x {image_size} pixels in three colors "
            f"({first_line(error)}): set image_size to the size it was trained at."
        ) from error
    for stage, module in [*pieces.stages, *([("head", pieces.head)] if pieces.head is not None else [])]:
        x = module(x)
        if not isinstance(x, torch.Tensor):
            raise ConfigError(
                f"{name} cannot be cut after '{stage}': its output is {type(x).__name__}, not one tensor."
            )
    if not isinstance(expected, torch.Tensor) or x.shape != expected.shape:
        raise ConfigError(f"{name} cannot be cut: its output is of another kind than that of its stages.")
    if not torch.allclose(x, expected, rtol=0, atol=TOLERANCE * float(expected.abs().max())):
        raise ConfigError(f"{name} cannot be cut: its output differs from that of its stages.")


def accepts_size(stages: Sequence[nn.Module], image_size: int) -> bool:
    """Whether stages on torch's meta device accept images of a size; nothing is computed."""
    try:
        return math.prod(output_shape(stages, image_size)) > 0
    except OSError as error:  # torch needs a folder for temporary files
        raise StorageError(
            f"cannot use a folder for temporary files ({error.strerror or first_line(error)}): free some space, or set "
            "TMPDIR to a writable folder."
        ) from error
    except Exception:  # a network's own code rejects a size in its own way
        return False


@torch.no_grad()
def output_shape(stages: Sequence[nn.Module], image_size: int) -> tuple[int, ...]:
    """Return the output shape of stages on torch's meta device for one image: (C, H, W), (N, C) or (F,)."""
    x = torch.empty(1, 3, image_size, image_size, device="meta")
    for stage in stages:
        x = stage(x)
    return tuple(x.shape[1:])


def accepted_sizes(stages: Sequence[nn.Module], own: int) -> tuple[int, bool]:
    """Return the smallest size that stages accept, and whether ``own`` is the only one."""
    shapes = [copy.deepcopy(stage).to("meta") for stage in stages]
    if not accepts_size(shapes, 2 * own):
        return own, True
    rejected, accepted = 0, own
    while accepted - rejected > 1:
        middle = (rejected + accepted) // 2
        rejected, accepted = (rejected, middle) if accepts_size(shapes, middle) else (middle, accepted)
    return accepted, False
