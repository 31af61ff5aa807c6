"""Results of a search: best settings with their interval, parameter importance, summary, table and figure."""

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes
from frostline.evaluation.comparison import LEVEL, mcnemar
from frostline.evaluation.metrics import wilson_interval
from frostline.studies.tune_space import SEARCHED, Choice, Space
from frostline.studies.tune_study import ALL, DIVERGED, FinishedTrial, importances

RESAMPLES = 12  # bootstrap resamples of the trials, for the standard deviation of the importances
FEWEST_TRIALS = 8  # needed for an estimate of the importances
PANELS = 3  # parameters plotted
FEW_IMAGES = 1_000  # up to so many, percentages have one decimal
SMALLEST_P = 1e-4  # smaller ones are printed as below it


@dataclass(frozen=True)
class TuneResult:
    """The trials of a search, and parameter importance.

    Attributes
    ----------
    trials : tuple of FinishedTrial
    rungs : tuple of int
        Numbers of training images, ascending; every trial was trained on the first.
    val_images : int
        Size of the validation split.
    importances : dict of str to (float, float)
        By name, largest first: fraction of the variance of accuracy on the first rung, and its standard deviation over
        bootstrap resamples of the trials. Empty when there are too few trials.
    """

    trials: tuple[FinishedTrial, ...]
    space: Space
    rungs: tuple[int, ...]
    val_images: int
    importances: dict[str, tuple[float, float]]

    @property
    def best(self) -> FinishedTrial | None:
        """The best trial on all images, or None."""
        return best_of(self.trials)


def best_of(trials: Sequence[FinishedTrial]) -> FinishedTrial | None:
    """Return the trial with the best accuracy on all images, the earliest of equals."""
    return max((trial for trial in trials if trial.ended == ALL), key=final_accuracy, default=None)


def final_accuracy(trial: FinishedTrial) -> float:
    """Return the accuracy of a trial on its last rung."""
    return trial.accuracies[max(trial.accuracies)]


def analyze(
    trials: Sequence[FinishedTrial], space: Space, rungs: Sequence[int], val_images: int, seed: int
) -> TuneResult:
    """Return the trials with an estimate of parameter importance."""
    converged = [trial for trial in trials if trial.ended != DIVERGED]
    estimates: dict[str, tuple[float, float]] = {}
    if len(converged) >= FEWEST_TRIALS and len(space) > 1:
        found = importances(converged, space, rungs[0], seed)
        draw = np.random.default_rng(seed)
        drawn = [[converged[i] for i in draw.integers(len(converged), size=len(converged))] for _ in range(RESAMPLES)]
        others = [again for again in (importances(some, space, rungs[0], seed) for some in drawn) if again]
        estimates = {
            name: (share, _spread([again.get(name, 0.0) for again in others])) for name, share in found.items()
        }
    return TuneResult(tuple(trials), space, tuple(rungs), val_images, estimates)


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def format_summary(result: TuneResult) -> list[str]:
    """Return the results in plain sentences."""
    lines = [_counted(result)]
    best = result.best
    if best is None:
        return [*lines, f"No trial was trained on all {result.rungs[-1]:,} images yet: continue with --resume."]
    accuracy = final_accuracy(best)
    low, high = wilson_interval(round(accuracy * result.val_images), result.val_images)
    rivals = sum(trial.ended == ALL for trial in result.trials)
    values = ", ".join(f"{SEARCHED[name][1]} {short_text(value)}" for name, value in best.values.items())
    lines.append(f"Best: trial {best.number} with validation accuracy {accuracy:.4f}: {values}.")
    selected = f"the best of {rivals} trials" if rivals > 1 else "its epoch"
    lines.append(
        f"Its 95 % interval is {low:.4f} to {high:.4f} ({result.val_images:,} validation images). The accuracy is "
        f"optimistic because the same images selected {selected}; the test split was not read."
    )
    return [*lines, _against_default(result, best), *_importance(result)]


def _against_default(result: TuneResult, best: FinishedTrial) -> str:
    """Say whether the best trial beats the first, the default, by more than chance on the same images.

    The p-value of McNemar's exact test is multiplied by the number of other trials (Bonferroni), because the same
    images selected the best of them.
    """
    default, others = result.trials[0], len(result.trials) - 1
    if not others:
        return "The default is the only trial."
    if best is default:
        return f"The default, trial 1, is the best of {len(result.trials)} trials."
    if default.ended != ALL:
        return "The default, trial 1, diverged: the best trial cannot be compared with it."
    if not (best.correct and default.correct):
        return (
            "Whether the best trial beats the default by more than chance is not known: an earlier version of "
            "Frostline, which recorded no predictions, ran one of them."
        )
    found, before = (_correct(trial, result.val_images) for trial in (best, default))
    p_value = min(1.0, others * mcnemar(int((before & ~found).sum()), int((found & ~before).sum())))
    digits = 1 if result.val_images <= FEW_IMAGES else 2
    shares = [f"{100 * correct.mean():.{digits}f} %" for correct in (found, before)]
    return (
        f"The best trial is right on {shares[0]} of the validation images, the default (trial 1) on {shares[1]}: "
        f"{'more' if p_value < LEVEL else 'no more'} than chance (p {_p_text(p_value)}, McNemar's test, corrected for "
        f"the best of {len(result.trials)} trials)."
    )


def _correct(trial: FinishedTrial, images: int) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(trial.correct, np.uint8), count=images).astype(bool)


def _p_text(value: float) -> str:
    return f"= {value:.2g}" if value >= SMALLEST_P else f"< {SMALLEST_P:g}"


def _counted(result: TuneResult) -> str:
    reached = Counter(max(trial.accuracies) for trial in result.trials if trial.ended != DIVERGED)
    parts = [f"{reached[number]} trained on up to {number:,} images" for number in result.rungs if reached[number]]
    diverged = sum(trial.ended == DIVERGED for trial in result.trials)
    lost = f"{', ' if parts else ''}{diverged} diverged" if diverged else ""
    return f"{len(result.trials)} trials: {', '.join(parts)}{lost}."


def _importance(result: TuneResult) -> list[str]:
    if not result.importances:
        return [f"Parameter importance needs {FEWEST_TRIALS} or more trials that differ in accuracy."]
    listed = ", ".join(
        f"{SEARCHED[name][1]} {share:.2f} ± {sd:.2f}" for name, (share, sd) in result.importances.items()
    )
    lines = [
        f"Parameter importance (fANOVA: fraction of the variance of accuracy with {result.rungs[0]:,} training images, "
        f"± standard deviation over resampled trials): {listed}."
    ]
    (name, (most, spread)), (second, (less, other)), *_ = result.importances.items()
    clear = most - less > 2 * math.hypot(spread, other)
    margin = "clearly above" if clear else "but not clearly above"
    return [*lines, f"{SEARCHED[name][1].capitalize()} has the highest importance, {margin} {SEARCHED[second][1]}."]


def short_text(value: Any) -> str:
    """Return a value as short text, such as ``conv1…conv5`` for a list of stages."""
    if isinstance(value, float):
        return f"{value:.3g}"
    first, _, rest = str(value).partition(",")
    return f"{first}…{rest.rpartition(',')[2]}" if rest else first


def write_table(result: TuneResult, path: Path) -> None:
    """Write one line per trial as CSV: outcome, accuracy by number of training images, values in force."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    reached = [f"accuracy_{number}" for number in result.rungs]
    writer.writerow(["trial", "ended", *reached, "epochs", "seconds", *result.space])
    for trial in result.trials:
        accuracies = [f"{trial.accuracies[n]:.4f}" if n in trial.accuracies else "" for n in result.rungs]
        values = [trial.values.get(name, "") for name in result.space]
        writer.writerow(
            [
                trial.number,
                trial.ended.replace("pictures", "images"),
                *accuracies,
                trial.epochs or "",
                f"{trial.seconds:.2f}",
                *[f"{value:.6g}" if isinstance(value, float) else value for value in values],
            ]
        )
    write_bytes(path, text.getvalue().encode(), OTHER_OUTPUT_DIR)


def draw(result: TuneResult, title: str, path: Path) -> None:
    """Plot the importances, and accuracy over the values of the most important parameters, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    bars, *panels = figure.subplots(2, 2).flat
    names = list(result.importances)
    means, spreads = (np.array(column) for column in zip(*result.importances.values(), strict=True))
    bars.barh(range(len(names)), means, xerr=np.nan_to_num(spreads), color="#0b6fa4", ecolor="#444444", capsize=3)
    bars.set_yticks(range(len(names)), [SEARCHED[name][1] for name in names])
    bars.invert_yaxis()
    bars.set_xlim(0, max(1e-9, 1.05 * float((means + np.nan_to_num(spreads)).max())))
    bars.set(xlabel="fraction of the variance of accuracy ± standard deviation", title=title)
    bars.grid(alpha=0.25, axis="x")
    for axes, name in zip(panels, names[:PANELS], strict=False):
        _values(axes, result, name)
    panels[0].legend(frameon=False, fontsize=8)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_bytes(path, buffer.getvalue(), OTHER_OUTPUT_DIR)


def _values(axes: Any, result: TuneResult, name: str) -> None:
    """Plot the trials in which a parameter is in force; those trained on all images, and the best one, are marked."""
    place, images = result.space[name], result.rungs[0]
    converged = [trial for trial in result.trials if trial.ended != DIVERGED and name in trial.values]
    x = np.array([trial.values[name] for trial in converged])
    if isinstance(place, Choice):
        options = list(place.options)
        spread = np.random.default_rng(0).uniform(-0.15, 0.15, len(converged))
        x = np.array([options.index(str(value)) for value in x]) + spread
        axes.set_xticks(range(len(options)), [short_text(option).replace("…", "…\n") for option in options])
        axes.set_xlim(-0.5, len(options) - 0.5)
    elif place.log:
        axes.set_xscale("log")
    y = np.array([trial.accuracies[images] for trial in converged])
    complete = np.array([trial.ended == ALL for trial in converged])
    axes.plot(x[~complete], y[~complete], "o", color="#9a9a9a", markersize=4, label="stopped with fewer images")
    axes.plot(
        x[complete], y[complete], "o", color="#0b6fa4", markersize=5, label=f"trained on all {result.rungs[-1]:,}"
    )
    marked = [i for i, trial in enumerate(converged) if trial is result.best]
    axes.plot(x[marked], y[marked], "o", color="none", markeredgecolor="#c2410c", markersize=10, label="best")
    axes.set(xlabel=SEARCHED[name][1], ylabel=f"validation accuracy with {images:,} images")
    axes.grid(alpha=0.25)
