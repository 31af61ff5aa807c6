"""The pre-training run: draw images, train, probe, save checkpoints and write the weights."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional

import frostline
from frostline._utils.device import describe_device, half_precision
from frostline._utils.output_folder import START_OVER, Output
from frostline._utils.progress import Bar, Progress, Silent, log
from frostline.models.backbone import Backbone, channels_last
from frostline.synthetic.scene import VERSION, Drawing, Labels, draw_labels, draw_scenes
from frostline.training.checkpoint import read_checkpoint, write_checkpoint
from frostline.training.trainer import gradient_steps
from tools.pretraining.export import write_weights
from tools.pretraining.losses import Outputs, supervised, true_sketches
from tools.pretraining.network import Pretraining
from tools.pretraining.probe import held_out_accuracy
from tools.pretraining.recipe import Budget, Recipe

REPORTS = 12  # lines in the history of a run, at least a minute apart
REPORT_SECONDS = 60.0
PERMILLE = 1000


@dataclass(frozen=True)
class HistoryLine:
    """One line of the history, with means since the previous line."""

    images: int
    seconds: float
    size: int  # side of the last images, in pixels
    loss: float
    object_accuracy: float | None  # None without an object head
    texture_accuracy: float
    sketch_error: float  # mean squared error of the deepest sketch, whose standard deviation is about 1
    held_out_accuracy: float  # of the probe on objects that are never drawn here


class _Batch(NamedTuple):
    labels: Labels
    drawing: Drawing


@dataclass
class _Sums:
    """Sums since the last line of the history."""

    images: int = 0
    loss: float = 0.0
    objects: int = 0
    textures: int = 0
    sketch_error: float = 0.0


class _Run:
    """A run in progress, with everything that the next step depends on."""

    def __init__(self, recipe: Recipe, budget: Budget, device: torch.device, start: Backbone | None) -> None:
        self.recipe, self.budget, self.device = recipe, budget, device
        self.start = start.origin.sha256 if start is not None and start.origin is not None else None
        torch.manual_seed(recipe.program.seed)
        objects = recipe.program.classes if recipe.weights.objects else 0
        module = Pretraining(objects, recipe.program.textures, recipe.texture_stage, recipe.sketch_stages)
        self.module = channels_last(module, device)
        if start is not None:
            index = torch.arange(recipe.batch_size, device=device)
            labels = draw_labels(recipe.program, index)
            images = draw_scenes(recipe.program, index, recipe.size(0.0), labels).images
            self.module.take_over(start, images)
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
        self.images, self.done_steps = 0, 0
        self.before, self.started = 0.0, time.perf_counter()  # seconds before the last interruption, start after it
        self.history: list[HistoryLine] = []
        self.sums = _Sums()

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.started

    @property
    def done(self) -> float:
        return min(1.0, self.budget.done(self.images, self.seconds))

    def steps(self) -> Iterator[int]:
        """Train until the budget is used up; after each step yield the side of its images in pixels."""
        steps = gradient_steps(
            self.optimizer,
            self._batches(),
            self._objective,
            where="pre-training",
            remedy=f"--lr {self.recipe.lr:g} is too high; try a tenth.",
        )
        for batch, (outputs, sketches), loss in steps:
            count, labels = len(sketches), batch.labels
            self.images += count
            self.done_steps += 1
            self.sums.images += count
            self.sums.loss += loss * count
            if outputs.objects is not None:
                self.sums.objects += int((outputs.objects.argmax(1) == labels.objects).sum())
            self.sums.textures += int((outputs.textures.argmax(1) == labels.textures).sum())
            self.sums.sketch_error += functional.mse_loss(outputs.sketches[-1].float(), sketches).item() * count
            yield batch.drawing.images.shape[-1]

    def _batches(self) -> Iterator[tuple[float, _Batch]]:
        """Yield learning rate and batch, drawn one after the other."""
        recipe = self.recipe
        while (done := self.done) < 1:
            count = recipe.batch_size
            if self.budget.images is not None:
                count = min(count, self.budget.images - self.images)
            index = torch.arange(self.images, self.images + count, device=self.device) % 2**32
            labels = draw_labels(recipe.program, index)
            drawing = draw_scenes(recipe.program, index, recipe.size(done), labels)
            torch.manual_seed(recipe.program.seed * 2**40 + self.images)  # dropout, the same in a resumed run
            yield recipe.learning_rate(self.done_steps, done), _Batch(labels, drawing)

    def _objective(self, batch: _Batch) -> tuple[torch.Tensor, tuple[Outputs, torch.Tensor]]:
        """Return the loss, the network's outputs and the target sketches."""
        half = half_precision(self.device)
        self.module.train()
        with torch.autocast(self.device.type, half or torch.bfloat16, enabled=half is not None):
            outputs: Outputs = self.module(batch.drawing.images)
        sketches = true_sketches(self.recipe.program, batch.drawing, batch.labels)
        return supervised(outputs, batch.labels, sketches, self.recipe.weights), (outputs, sketches)

    def report(self, size: int) -> None:
        """Probe, add a line to the history and log it."""
        sums, self.sums = self.sums, _Sums()
        line = HistoryLine(
            self.images,
            round(self.seconds, 1),
            size,
            sums.loss / sums.images,
            sums.objects / sums.images if self.module.object_head is not None else None,
            sums.textures / sums.images,
            sums.sketch_error / sums.images,
            held_out_accuracy(self.module.plain_state(), self.device, self.recipe.probe_per_class),
        )
        self.history.append(line)
        log.info(
            "%s images, %.1f min, %d px  loss %.3f  texture accuracy %.3f  sketch error %.3f%s  "
            "probe of new objects %.3f",
            f"{line.images:,}", line.seconds / 60, size, line.loss, line.texture_accuracy, line.sketch_error,
            "" if line.object_accuracy is None else f"  object accuracy {line.object_accuracy:.3f}",
            line.held_out_accuracy,
        )  # fmt: skip

    def write(self, path: Path) -> None:
        """Save everything that the next step depends on."""
        about = {
            "recipe": self.recipe.to_dict(),
            "start": self.start,
            "images": self.images,
            "steps": self.done_steps,
            "seconds": self.seconds,
            "history": [asdict(line) for line in self.history],
            "sums": asdict(self.sums),
        }
        write_checkpoint(path, self.module, self.optimizer, about, {}, "--output chooses another place")

    def read(self, path: Path, output: Output) -> None:
        """Restore a checkpoint."""
        about, _ = read_checkpoint(path, self.module, self.optimizer, START_OVER)
        current = json.loads(json.dumps(self.recipe.to_dict())) | {"start": self.start}
        output.check_same(about["recipe"] | {"start": about["start"]}, current)
        self.images, self.done_steps, self.before = about["images"], about["steps"], about["seconds"]
        self.history = [HistoryLine(**line) for line in about["history"]]
        self.sums = _Sums(**about["sums"])

    def record(self) -> dict[str, Any]:
        """Return the record for the weight file and its card."""
        return {
            "program_version": VERSION,
            "recipe": self.recipe.to_dict(),
            "start": self.start,
            "images": self.images,
            "minutes": round(self.seconds / 60, 1),
            "device": describe_device(self.device),
            "precision": str(half_precision(self.device) or torch.float32).removeprefix("torch."),
            "versions": {"frostline": frostline.__version__, "torch": str(torch.__version__)},
            "history": [asdict(line) for line in self.history],
        }


def pretrain(
    recipe: Recipe,
    budget: Budget,
    output: Path,
    *,
    device: torch.device,
    start: Backbone | None = None,
    resume: bool = False,
    overwrite: bool = False,
    checkpoint_seconds: float = 60.0,
    progress: Progress | None = None,
) -> str:
    """Pre-train AlexNet's convolutions on drawn images; write them as float16 safetensors in torchvision's layout.

    Checkpoints are saved next to the output, for ``resume``. A run with a number of images results in the same weights
    however often it was interrupted, on the same kind of processor.

    Parameters
    ----------
    start : Backbone, optional
        AlexNet with the initial convolutions; He-initialized by default.
    resume, overwrite : bool
        Continue an interrupted run; replace an existing ``output``.
    checkpoint_seconds : float
        Interval between checkpoints.

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    RunError
        If the output exists, or the checkpoint does not fit.
    WeightsError
        If the weights do not fit into float16.
    StorageError
    """
    checkpoint = output.with_name(f"{output.name}.unfinished")
    result = Output(str(output), "choose another --output")
    unfinished = Output(str(checkpoint), "choose another --output")
    if not overwrite:
        if output.exists():
            raise result.exists_error(can_resume=False)
        if checkpoint.exists() and not resume:
            raise unfinished.exists_error()
    run = _Run(recipe, budget, device, start)
    if resume and checkpoint.exists():
        run.read(checkpoint, unfinished)
        log.info("continuing after %s images", f"{run.images:,}")
    saved = reported = time.perf_counter()
    with (progress or Silent()).bar("pre-training", PERMILLE, "permille") as bar:
        shown = _show(run, bar, 0)
        for size in run.steps():
            shown = _show(run, bar, shown)
            due = run.done >= (len(run.history) + 1) / REPORTS and time.perf_counter() - reported > REPORT_SECONDS
            if due or run.done >= 1:
                run.report(size)
                reported = time.perf_counter()
            if time.perf_counter() - saved > checkpoint_seconds:
                run.write(checkpoint)
                saved = time.perf_counter()
    digest = write_weights(run.module.plain_state(), output, run.record())
    checkpoint.unlink(missing_ok=True)
    return digest


def _show(run: _Run, bar: Bar, shown: int) -> int:
    reached = int(run.done * PERMILLE)
    bar.advance(reached - shown)
    bar.note(f"{run.images:,} images, loss {run.sums.loss / max(1, run.sums.images):.3f}")
    return reached
