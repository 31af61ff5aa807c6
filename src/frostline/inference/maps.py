"""A network that shows the map of each stage on its way: which numbers belong to which place in the image.

A stage's map is the last one before it pools: AlexNet's conv5 at 128 px has 7 x 7 places, and only 3 x 3 after its
pooling. Tokens (B, N, C) of a transformer are laid out as the square they came from, those that stand for no place
(class token, registers) left aside.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from frostline.models.backbone import Backbone
from frostline.models.boundary import Boundary, run_stages
from frostline.models.heads import Head

SHOWN = "frostline_shown"  # name of our module in a stage
MOST_EXTRA_TOKENS = 8


class MappedNetwork(nn.Module):
    """Preprocessed pixels to logits in one differentiable pass; weights are shared with the model's.

    Parameters
    ----------
    backbone : Backbone
        The stages that run.
    boundary : Boundary
        What the head reads.
    head : Head
    image_size : int

    Attributes
    ----------
    maps : dict of str to nn.Module
        By stage, in order: an identity that its map (B, C, h, w) passes through. Only maps that have more than one
        place and that the logits depend on.
    sides : dict of str to int
        How many places a side each of them has.
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
                self.stages[name], shown = _showing(backbone.stages[name], x)
                x = backbone.stages[name](x)
                if shown is not None:
                    self.maps[name] = shown.map
        self.eval()
        self._drop_unread(noise)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the head reads (B, ...), for x (B, 3, S, S), normalized."""
        return run_stages(x, self.stages, self.boundary.closed, self.boundary.taps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (B, classes) for x (B, 3, S, S), normalized."""
        logits: torch.Tensor = self.head(self.features(x))
        return logits

    @torch.enable_grad()
    def _drop_unread(self, x: torch.Tensor) -> None:
        """Forget maps that no logit depends on: a transformer's last one, where the class token alone is read."""
        passed: dict[str, torch.Tensor] = {}

        def keep(stage: str) -> Any:
            def hook(_module: nn.Module, _inputs: Any, value: torch.Tensor) -> torch.Tensor:
                passed[stage] = value
                return value.clone()  # what follows may write into it

            return hook

        hooks = [module.register_forward_hook(keep(stage)) for stage, module in self.maps.items()]
        logits = self(x.clone().requires_grad_())
        for hook in hooks:
            hook.remove()
        gradients = torch.autograd.grad(logits.square().sum(), list(passed.values()), allow_unused=True)
        for stage, gradient in zip(passed, gradients, strict=True):
            self.sides[stage] = passed[stage].shape[-1]
            if gradient is None or not gradient.any():
                del self.maps[stage], self.sides[stage]


class ShownMaps(nn.Module):
    """Gives back what comes in; on the way it passes through ``map`` as (B, C, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x``: a map (B, C, h, h) or (B, h, h, C), or tokens (B, N, C)."""
        if x.ndim == 4 and x.shape[2] == x.shape[3]:
            passed: torch.Tensor = self.map(x)
            return passed
        if x.ndim == 4:
            return self.map(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # type: ignore[no-any-return]
        side = math.isqrt(x.shape[1])
        extra, places = x[:, : -side * side], x[:, -side * side :]  # (B, E, C), (B, h*h, C)
        grid = self.map(places.transpose(1, 2).reshape(len(x), -1, side, side))  # (B, C, h, h)
        return torch.cat([extra, grid.flatten(2).transpose(1, 2)], dim=1)


def map_side(shape: torch.Size) -> int:
    """Return how many places a side a value of some shape has; 0 when it is no map, or of one place."""
    side = 0
    if len(shape) == 4 and (shape[2] == shape[3] or shape[1] == shape[2]):
        side = shape[2]
    elif len(shape) == 3 and shape[1] - math.isqrt(shape[1]) ** 2 <= MOST_EXTRA_TOKENS:
        side = math.isqrt(shape[1])
    return side if side > 1 else 0


class _Step(NamedTuple):
    place: Any  # where in the stage
    layer: nn.Module
    shape: torch.Size


def _showing(stage: nn.Module, x: torch.Tensor) -> tuple[nn.Module, ShownMaps | None]:
    """Return a stage that does the same and shows its map, if it has one."""
    steps, result = _steps(stage, x)
    chosen, side = _last_map(steps)
    shown = ShownMaps()
    if map_side(result) and side in (0, map_side(result)):
        return nn.Sequential(stage, shown), shown
    if chosen is None:
        return stage, None
    if isinstance(stage, fx.GraphModule):
        return _inserted(stage, chosen.place, shown), shown
    layers = [step.layer for step in steps]
    return nn.Sequential(*layers[: chosen.place + 1], shown, *layers[chosen.place + 1 :]), shown


def _last_map(steps: Iterable[_Step]) -> tuple[_Step | None, int]:
    """Return the last map that no pooling made, and its side; what makes a map smaller without weights is pooling."""
    chosen, side = None, 0
    for step in steps:
        found = map_side(step.shape)
        if found and (found == side or any(True for _ in step.layer.parameters())):
            chosen, side = step, found
    return chosen, side


def _steps(stage: nn.Module, x: torch.Tensor) -> tuple[list[_Step], torch.Size]:
    """Return the modules that a stage calls, with what comes out of them, and the shape of its result."""
    if isinstance(stage, fx.GraphModule):
        notes = _Notes(stage)
        return notes.steps, notes.run(x).shape
    steps = []
    if isinstance(stage, nn.Sequential):
        for number, layer in enumerate(stage):
            x = layer(x)
            steps.append(_Step(number, layer, x.shape))
        return steps, x.shape
    return steps, stage(x).shape


class _Notes(fx.Interpreter):
    """Runs a recorded stage and notes the shapes that its modules give."""

    def __init__(self, stage: fx.GraphModule) -> None:
        super().__init__(stage)
        self.steps: list[_Step] = []

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "call_module" and isinstance(value, torch.Tensor):
            self.steps.append(_Step(n, self.module.get_submodule(str(n.target)), value.shape))
        return value


def _inserted(stage: fx.GraphModule, after: fx.Node, shown: ShownMaps) -> fx.GraphModule:
    """Return a copy of a recorded stage, its weights shared, that shows what comes out of one of its steps."""
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    graph.output(graph.graph_copy(stage.graph, copies))
    copy = fx.GraphModule(stage, graph)
    copy.add_submodule(SHOWN, shown)
    # GraphModule copies the graph once more, node by node
    node = list(copy.graph.nodes)[list(stage.graph.nodes).index(after)]
    with copy.graph.inserting_after(node):
        new = copy.graph.call_module(SHOWN)
    node.replace_all_uses_with(new)
    new.args = (node,)
    copy.recompile()
    return copy
