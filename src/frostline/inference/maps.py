"""A network that exposes the spatial map of each stage, for saliency maps.

The map of a stage is its last one before pooling: AlexNet's conv5 at 128 px has 7 x 7 positions, and only 3 x 3 after
pooling. Tokens (B, N, C) of a transformer are arranged as the square they came from; tokens without a position (class
token, registers) are left out.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from frostline.models.backbone import Backbone
from frostline.models.boundary import Boundary, run_stages
from frostline.models.heads import Head

PROBE = "frostline_map_probe"  # name of our module in a stage
MOST_EXTRA_TOKENS = 8


class MappedNetwork(nn.Module):
    """The network from preprocessed pixels to logits as one differentiable module; weights are shared.

    Attributes
    ----------
    maps : dict of str to nn.Module
        By stage, in order: an identity that its map (B, C, h, w) passes through. Only maps with more than one position
        that the logits depend on.
    sides : dict of str to int
        Positions per side of each map.
    """

    def __init__(self, backbone: Backbone, boundary: Boundary, head: Head, image_size: int) -> None:
        super().__init__()
        self.boundary, self.head = boundary, head
        self.stages = nn.ModuleDict()
        self.maps: dict[str, nn.Module] = {}
        self.sides: dict[str, int] = {}
        device = head.mean.device
        noise = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
        x = noise = noise.to(device)
        with torch.no_grad():
            for name in backbone.stage_names[: backbone.position(boundary.end) + 1]:
                self.stages[name], probe = _with_probe(backbone.stages[name], x)
                x = backbone.stages[name](x)
                if probe is not None:
                    self.maps[name] = probe.map
        self.eval()
        self._drop_unused(noise)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return head inputs (B, ...) for normalized pixels (B, 3, S, S)."""
        return run_stages(x, self.stages, self.boundary.closed, self.boundary.taps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (B, classes) for normalized pixels (B, 3, S, S)."""
        logits: torch.Tensor = self.head(self.features(x))
        return logits

    @torch.enable_grad()
    def _drop_unused(self, x: torch.Tensor) -> None:
        """Drop maps that no logit depends on, such as a transformer's last one if the head reads the class token."""
        recorded: dict[str, torch.Tensor] = {}

        def record(stage: str) -> Any:
            def hook(_module: nn.Module, _inputs: Any, value: torch.Tensor) -> torch.Tensor:
                recorded[stage] = value
                return value.clone()  # later layers may modify it in place

            return hook

        hooks = [module.register_forward_hook(record(stage)) for stage, module in self.maps.items()]
        logits = self(x.clone().requires_grad_())
        for hook in hooks:
            hook.remove()
        gradients = torch.autograd.grad(logits.square().sum(), list(recorded.values()), allow_unused=True)
        for stage, gradient in zip(recorded, gradients, strict=True):
            self.sides[stage] = recorded[stage].shape[-1]
            if gradient is None or not gradient.any():
                del self.maps[stage], self.sides[stage]


class MapProbe(nn.Module):
    """Identity that passes its input through the module ``map`` as (B, C, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x``: a map (B, C, h, h) or (B, h, h, C), or tokens (B, N, C)."""
        if x.ndim == 4 and x.shape[2] == x.shape[3]:
            same: torch.Tensor = self.map(x)
            return same
        if x.ndim == 4:
            return self.map(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # type: ignore[no-any-return]
        side = math.isqrt(x.shape[1])
        extra, tokens = x[:, : -side * side], x[:, -side * side :]  # (B, E, C), (B, h*h, C)
        grid = self.map(tokens.transpose(1, 2).reshape(len(x), -1, side, side))  # (B, C, h, h)
        return torch.cat([extra, grid.flatten(2).transpose(1, 2)], dim=1)


def map_side(shape: torch.Size) -> int:
    """Return the positions per side of a tensor of some shape; 0 if it is no map or has only one position."""
    side = 0
    if len(shape) == 4 and (shape[2] == shape[3] or shape[1] == shape[2]):
        side = shape[2]
    elif len(shape) == 3 and shape[1] - math.isqrt(shape[1]) ** 2 <= MOST_EXTRA_TOKENS:
        side = math.isqrt(shape[1])
    return side if side > 1 else 0


class _Step(NamedTuple):
    position: Any  # index in a Sequential, or node in a GraphModule
    layer: nn.Module
    shape: torch.Size


def _with_probe(stage: nn.Module, x: torch.Tensor) -> tuple[nn.Module, MapProbe | None]:
    """Return an equivalent stage with a probe at its map, if it has one."""
    steps, result = _steps(stage, x)
    chosen, side = _last_map(steps)
    probe = MapProbe()
    if map_side(result) and side in (0, map_side(result)):
        return nn.Sequential(stage, probe), probe
    if chosen is None:
        return stage, None
    if isinstance(stage, fx.GraphModule):
        return _insert(stage, chosen.position, probe), probe
    layers = [step.layer for step in steps]
    return nn.Sequential(*layers[: chosen.position + 1], probe, *layers[chosen.position + 1 :]), probe


def _last_map(steps: Iterable[_Step]) -> tuple[_Step | None, int]:
    """Return the last map before pooling, and its side; a layer without weights that shrinks a map is pooling."""
    chosen, side = None, 0
    for step in steps:
        found = map_side(step.shape)
        if found and (found == side or any(True for _ in step.layer.parameters())):
            chosen, side = step, found
    return chosen, side


def _steps(stage: nn.Module, x: torch.Tensor) -> tuple[list[_Step], torch.Size]:
    """Return the modules that a stage calls with the shapes of their outputs, and the shape of its output."""
    if isinstance(stage, fx.GraphModule):
        recorder = _ShapeRecorder(stage)
        return recorder.steps, recorder.run(x).shape
    steps = []
    if isinstance(stage, nn.Sequential):
        for number, layer in enumerate(stage):
            x = layer(x)
            steps.append(_Step(number, layer, x.shape))
        return steps, x.shape
    return steps, stage(x).shape


class _ShapeRecorder(fx.Interpreter):
    """Runs a traced stage and records the output shapes of its modules."""

    def __init__(self, stage: fx.GraphModule) -> None:
        super().__init__(stage)
        self.steps: list[_Step] = []

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "call_module" and isinstance(value, torch.Tensor):
            self.steps.append(_Step(n, self.module.get_submodule(str(n.target)), value.shape))
        return value


def _insert(stage: fx.GraphModule, after: fx.Node, probe: MapProbe) -> fx.GraphModule:
    """Return a copy of a traced stage, sharing its weights, with a probe at the output of one of its nodes."""
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    graph.output(graph.graph_copy(stage.graph, copies))
    copy = fx.GraphModule(stage, graph)
    copy.add_submodule(PROBE, probe)
    # GraphModule copies the graph once more, node by node
    node = list(copy.graph.nodes)[list(stage.graph.nodes).index(after)]
    with copy.graph.inserting_after(node):
        new = copy.graph.call_module(PROBE)
    node.replace_all_uses_with(new)
    new.args = (node,)
    copy.recompile()
    return copy
