"""What the trials of a search say: the best settings and how sure they are, what mattered, a table and an image."""

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frostline._utils.storage import write_bytes
from frostline.evaluation.metrics import wilson_interval
from frostline.studies.space import SEARCHED, Choice, Space, effective_params
from frostline.studies.study import ALL, DIVERGED, FinishedTrial, importances

REMEDY = "--output-dir chooses another place"
RESAMPLED = 12  # how often the trials are drawn anew, to see how far the shares depend on which trials there were
FEWEST_TRIALS = 8  # fewer say nothing about what matters
PANELS = 3


@dataclass(frozen=True)
class Findings:
    """The trials of a search, and what follows from them.

    Attributes
    ----------
    tried : tuple of Tried
    amounts : tuple of int
        Numbers of training images, ascending; all trials were trained on the first.
    judges : int
        Images in the validation split.
    shares : dict of str to (float, float)
        By name, the largest first: share of the variance of accuracy after the first amount, and its standard deviation
        over trials drawn anew. Empty when there are too few trials.
    """

    tried: tuple[FinishedTrial, ...]
    space: Space
    amounts: tuple[int, ...]
    judges: int
    shares: dict[str, tuple[float, float]]

    @property
    def best(self) -> FinishedTrial | None:
        """The best trial on all images, if there is one."""
        return best_of(self.tried)


def best_of(tried: Sequence[FinishedTrial]) -> FinishedTrial | None:
    """Return the trial with the best accuracy after all images; the earliest of equals."""
    return max((one for one in tried if one.ended == ALL), key=final, default=None)


def final(one: FinishedTrial) -> float:
    """Return the accuracy after as many images as a trial came to."""
    return one.accuracies[max(one.accuracies)]


def find(tried: Sequence[FinishedTrial], space: Space, amounts: Sequence[int], judges: int, seed: int) -> Findings:
    """Ask the trials what mattered."""
    fair = [one for one in tried if one.ended != DIVERGED]
    shares: dict[str, tuple[float, float]] = {}
    if len(fair) >= FEWEST_TRIALS and len(space) > 1:
        found = importances(fair, space, amounts[0], seed)
        draw = np.random.default_rng(seed)
        drawn = [[fair[i] for i in draw.integers(len(fair), size=len(fair))] for _ in range(RESAMPLED)]
        others = [again for again in (importances(some, space, amounts[0], seed) for some in drawn) if again]
        shares = {name: (share, _spread([again[name] for again in others])) for name, share in found.items()}
    return Findings(tuple(tried), space, tuple(amounts), judges, shares)


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def format_summary(findings: Findings) -> list[str]:
    """Say in plain sentences what the trials say, and how sure it is."""
    lines = [_counted(findings)]
    best, first = findings.best, findings.tried[0]
    if best is None:
        return [*lines, f"No trial has got to all {findings.amounts[-1]:,} training images yet: --resume goes on."]
    accuracy = final(best)
    low, high = wilson_interval(round(accuracy * findings.judges), findings.judges)
    rivals = sum(one.ended == ALL for one in findings.tried)
    values = ", ".join(
        f"{SEARCHED[name][1]} {search_record(value)}" for name, value in effective_params(best.values).items()
    )
    lines.append(f"Best: trial {best.number} with validation accuracy {accuracy:.4f}: {values}.")
    chosen = f"as the best of {rivals} it was chosen by the same images" if rivals > 1 else "its epoch was chosen by it"
    lines.append(
        f"Its 95 % interval is {low:.4f} to {high:.4f} ({findings.judges:,} validation images), and it is "
        f"optimistic: {chosen}. What it is worth only the test split can say, which was not read."
    )
    if first is not best and first.ended == ALL:
        gain, mean = accuracy - final(first), (accuracy + final(first)) / 2
        error = math.sqrt(2 * mean * (1 - mean) / findings.judges)  # of a difference, as if of different images
        verdict = "more than chance makes" if gain > 2 * error else "chance alone may make as much"
        lines.append(
            f"The settings that the search began with, trial {first.number}, came to {final(first):.4f}: "
            f"{gain:.4f} less, {gain / error:.1f} standard errors; {verdict}."
        )
    return lines + _mattered(findings)


def _counted(findings: Findings) -> str:
    reached = Counter(max(one.accuracies) for one in findings.tried if one.ended != DIVERGED)
    parts = [f"{reached[number]} to {number:,}" for number in findings.amounts if reached[number]]
    diverged = sum(one.ended == DIVERGED for one in findings.tried)
    lost = f"; {diverged} diverged" if diverged else ""
    return f"{len(findings.tried)} trials; training images they came to: {', '.join(parts)}{lost}."


def _mattered(findings: Findings) -> list[str]:
    if not findings.shares:
        return [f"Too few trials, or too little difference, to say what mattered: {FEWEST_TRIALS} are the least."]
    said = ", ".join(f"{SEARCHED[name][1]} {share:.2f} ± {sd:.2f}" for name, (share, sd) in findings.shares.items())
    lines = [
        f"What mattered, as shares of the variance of accuracy after {findings.amounts[0]:,} training images "
        f"(fANOVA; ± standard deviation over trials drawn anew): {said}."
    ]
    (name, (most, spread)), (second, (less, other)), *_ = findings.shares.items()
    clear = most - less > 2 * math.hypot(spread, other)
    sure = "clearly" if clear else f"but not clearly more than {SEARCHED[second][1]}"
    return [*lines, f"{SEARCHED[name][1].capitalize()} mattered most, {sure}."]


def search_record(value: Any) -> str:
    """Return a value as text, short: ``conv1…conv5`` for a list of stages."""
    if isinstance(value, float):
        return f"{value:.3g}"
    first, _, rest = str(value).partition(",")
    return f"{first}…{rest.rpartition(',')[2]}" if rest else first


def write_table(findings: Findings, path: Path) -> None:
    """Write one line per trial as CSV: how it ended, accuracy by number of training images, its values."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    reached = [f"accuracy_{number}" for number in findings.amounts]
    writer.writerow(["trial", "ended", *reached, "epochs", "seconds", *findings.space])
    for one in findings.tried:
        accuracies = [f"{one.accuracies[n]:.4f}" if n in one.accuracies else "" for n in findings.amounts]
        values = [f"{value:.6g}" if isinstance(value, float) else value for value in one.values.values()]
        writer.writerow([one.number, one.ended, *accuracies, one.epochs, f"{one.seconds:.2f}", *values])
    write_bytes(path, text.getvalue().encode(), REMEDY)


def draw(findings: Findings, title: str, path: Path) -> None:
    """Draw the shares, and accuracy over the values of those that mattered most, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    bars, *panels = figure.subplots(2, 2).flat
    names = list(findings.shares)
    means, spreads = (np.array(column) for column in zip(*findings.shares.values(), strict=True))
    bars.barh(range(len(names)), means, xerr=np.nan_to_num(spreads), color="#0b6fa4", ecolor="#444444", capsize=3)
    bars.set_yticks(range(len(names)), [SEARCHED[name][1] for name in names])
    bars.invert_yaxis()
    bars.set_xlim(0, max(1e-9, 1.05 * float((means + np.nan_to_num(spreads)).max())))
    bars.set(xlabel="share of the variance of accuracy ± standard deviation", title=title)
    bars.grid(alpha=0.25, axis="x")
    for axes, name in zip(panels, names[:PANELS], strict=False):
        _values(axes, findings, name)
    panels[0].legend(frameon=False, fontsize=8)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_bytes(path, buffer.getvalue(), REMEDY)


def _values(axes: Any, findings: Findings, name: str) -> None:
    """Draw every trial at its value; those that came to all images, and the best, are marked."""
    place, images = findings.space[name], findings.amounts[0]
    fair = [one for one in findings.tried if one.ended != DIVERGED]
    x = np.array([one.values[name] for one in fair])
    if isinstance(place, Choice):
        options = list(place.options)
        spread = np.random.default_rng(0).uniform(-0.15, 0.15, len(fair))
        x = np.array([options.index(str(value)) for value in x]) + spread
        axes.set_xticks(range(len(options)), [search_record(option).replace("…", "…\n") for option in options])
        axes.set_xlim(-0.5, len(options) - 0.5)
    elif place.log:
        axes.set_xscale("log")
    y = np.array([one.accuracies[images] for one in fair])
    whole = np.array([one.ended == ALL for one in fair])
    axes.plot(x[~whole], y[~whole], "o", color="#9a9a9a", markersize=4, label="stopped on fewer images")
    axes.plot(x[whole], y[whole], "o", color="#0b6fa4", markersize=5, label=f"came to all {findings.amounts[-1]:,}")
    marked = [i for i, one in enumerate(fair) if one is findings.best]
    axes.plot(
        x[marked], y[marked], "o", color="none", markeredgecolor="#c2410c", markersize=10, label="best in the end"
    )
    axes.set(xlabel=SEARCHED[name][1], ylabel=f"validation accuracy after {images:,} images")
    axes.grid(alpha=0.25)
