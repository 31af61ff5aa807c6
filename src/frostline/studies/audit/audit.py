"""Audit of a data set: cross-validated heads and nearest neighbors on cached features find suspicious images.

OUTPUT/
  audit.csv    one line per finding, most suspicious first; edited or shortened, `--apply` applies it
  audit.html   the findings with images; suspected labels are accepted or rejected there, and saved as CSV
  audit.json   data set, network, folds and counts
"""

import time
from dataclasses import dataclass
from os.path import lexists
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from frostline import __version__
from frostline._utils.files import parse_json, read_bytes
from frostline._utils.machine import peak_memory_bytes
from frostline._utils.output_folder import OutputFolder
from frostline._utils.progress import Progress, log, visible
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_json
from frostline.config import TrainConfig
from frostline.data.dataset import Splits
from frostline.data.registry import SOURCES, data_name, load_configured
from frostline.errors import ConfigError, require
from frostline.pipeline.context import Context, make_context
from frostline.pipeline.extract import read_rows
from frostline.pipeline.phases import PEAK_LR, usual_epochs
from frostline.pipeline.rank import AUTO, candidates, with_model
from frostline.pipeline.resolve import check, resolve_network
from frostline.studies.audit.findings import KINDS, Finding, OutOfFold, find_all, score_labels, write_table
from frostline.studies.audit.label_noise import FDR, SKILL, fit_noise, skill
from frostline.studies.audit.near_duplicates import Copies, Pool, find_copies, make_pool, nearest, reduce
from frostline.studies.audit.page import write_page
from frostline.training.calibration import best_temperature
from frostline.training.cross_validation import NEVER, draw_folds, out_of_fold
from frostline.training.examples import Examples, Joined, Rows
from frostline.training.trainer import Recipe

FOLDS = 5
BATCH_SIZE = 512
OWN_FILES = ("audit.csv", "audit.html", "audit.json")


@dataclass(frozen=True, eq=False)
class Audit:
    """Result of an audit.

    Attributes
    ----------
    pool : Pool
    scored : OutOfFold
    findings : list of Finding
        By kind, the most suspicious first.
    facts : dict
        Contents of ``audit.json``.
    """

    pool: Pool
    scored: OutOfFold
    findings: list[Finding]
    facts: dict[str, Any]


def audit(
    config: TrainConfig,
    folder: Path | str | None = None,
    *,
    include_test: bool = False,
    fdr: float = FDR,
    cache_dir: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    splits: Splits | None = None,
) -> Audit:
    """Find label errors, near-duplicates, outliers and ambiguous images, and write them to a folder.

    The head of a run was trained on the labels in question, so new heads are trained by five-fold cross-validation on
    the features. Test labels are not read unless ``include_test`` is set, and no head is trained on them; test images
    are compared with the others.

    Parameters
    ----------
    config : TrainConfig
        Data set, network, weights, boundary, image size and seed, such as ``run.config``; the training settings are the
        audit's own.
    folder : path, optional
        Output folder; ``audits/DATA`` by default.
    include_test : bool
        Check the labels of the test split too.
    fdr : float
        Largest expected share of right labels among the suspected ones, above 0 and at most 1: the false discovery
        rate. 1 lists every label that the heads disagree with.
    cache_dir : path, optional
        Folder of the feature cache.
    overwrite : bool
        Replace an existing audit.
    progress : Progress, optional
    splits : Splits, optional
        The data set itself, named ``config.data``.

    Raises
    ------
    FrostlineError
        For errors caused by user input or the environment.
    """
    progress = visible(progress)
    if not 0 < fdr <= 1:
        raise ConfigError(f"--fdr {fdr}: expected a number above 0 and at most 1.")
    require("audit", "audit", "cleanlab.rank")
    check(config, splits=splits)
    folder = Path("audits", data_name(config.data)) if folder is None else Path(folder)
    output = OutputFolder(
        f"audit '{folder.name}'", "choose another --name", folder, "audit", OWN_FILES, OTHER_OUTPUT_DIR, _made_earlier
    )
    with output.claim() as claim:
        if any(lexists(folder / name) for name in OWN_FILES) and not overwrite:
            raise output.exists_error("perhaps with your edits", can_resume=False)
        claim.will_write(*OWN_FILES)
        context = make_context(config.device, cache_dir, progress, config.engine)
        return _audit(config, folder, context, splits, include_test=include_test, fdr=fdr)


def _made_earlier(folder: Path) -> bool:
    """Whether an earlier version, which wrote no manifest, has written an audit here."""
    try:
        return "test_labels_questioned" in parse_json(read_bytes(folder / "audit.json"))
    except (OSError, ValueError, TypeError):
        return False


def _audit(
    config: TrainConfig,
    folder: Path,
    context: Context,
    splits: Splits | None,
    *,
    include_test: bool,
    fdr: float,
) -> Audit:
    begun, progress = time.perf_counter(), context.progress
    splits = splits or load_configured(config, context.cache, context.progress, keep=True)
    pool = make_pool(splits, config)
    log.info("auditing %s: %s", splits.name, _describe(pool, include_test=include_test))
    requested, (config, rows) = with_model(config), _rows(pool, config, context)

    points = reduce(rows, config.seed, progress)
    members, distances = nearest(points, progress)
    copies = find_copies(pool, members, distances)
    scored, facts = _score(pool, rows, copies, config, progress, include_test=include_test, fdr=fdr)
    facts["judgment"] = _judge(pool, facts["folds"], requested, context)
    findings = find_all(pool, scored, copies, members, distances, ambiguous=facts["judgment"]["possible"])
    facts = {
        "schema": 1,
        "data": {"name": splits.name, "source": splits.source, "images": _counts(pool)},
        "test_labels_questioned": include_test,
        "findings": {kind: sum(finding.kind == kind for finding in findings) for kind in KINDS},
        **facts,
        "frostline": __version__,
        "seconds": time.perf_counter() - begun,
        "peak_memory_bytes": peak_memory_bytes(),
    }
    write_table(findings, pool, scored, folder / "audit.csv")
    write_page(findings, pool, scored, facts, points.numpy(), folder / "audit.html")
    facts["seconds"] = time.perf_counter() - begun
    write_json(folder / "audit.json", facts, OTHER_OUTPUT_DIR)
    return Audit(pool, scored, findings, facts)


def _rows(pool: Pool, config: TrainConfig, context: Context) -> tuple[TrainConfig, Rows]:
    """Return the resolved settings and the features of all images."""
    network = resolve_network(config, pool.parts[0], context)
    forward = network.forward(context, network.boundary.closed)
    *known, test = pool.parts
    rows, _ = read_rows(known, forward, network.feature_settings, context)
    (test_rows,), _ = read_rows((test,), forward, network.feature_settings.float32, context)
    return network.config, Joined([*rows, test_rows])


def _score(
    pool: Pool,
    rows: Rows,
    copies: Copies,
    config: TrainConfig,
    progress: Progress | None,
    *,
    include_test: bool,
    fdr: float,
) -> tuple[OutOfFold, dict[str, Any]]:
    """Score labels by heads that were trained neither on the image nor on a copy of it."""
    known = ~pool.in_test
    folds = np.full(len(pool), NEVER, np.int64)
    folds[known] = draw_folds(pool.labels[known], copies.groups[known], FOLDS, config.seed)
    audited = _auditable(pool, folds) & (known | include_test)
    recipe = Recipe(
        # Half the usual epochs: the heads memorize fewer wrong labels (bench/audit.py).
        epochs=-(-usual_epochs(int(known.sum()), BATCH_SIZE, head_only=True) // 2),
        batch_size=BATCH_SIZE,
        lr=PEAK_LR["adamw", "linear"],
        seed=config.seed,
        patience=1,
        weight_decay=config.weight_decay,
        label_smoothing=config.label_smoothing,
    )
    labels = np.where(known | include_test, pool.labels, 0)
    logits = out_of_fold(Examples(rows, labels), folds, len(pool.class_names), recipe, progress)
    temperature = best_temperature(logits[known], torch.from_numpy(pool.labels[known]))
    probabilities = (logits.double() / temperature).softmax(1).numpy()
    agreement = float((probabilities[known].argmax(1) == pool.labels[known]).mean())
    log.info(
        "%d folds, %d epochs: heads agree with %.2f %% of the held-out labels (temperature %.3g)",
        FOLDS, recipe.epochs, 100 * agreement, temperature,
    )  # fmt: skip
    facts = {
        "network": {"name": config.model, "weights": config.weights, "image_size": config.image_size},
        "folds": {"count": FOLDS, "epochs": recipe.epochs, "agreement": agreement, "temperature": temperature},
        "seed": config.seed,
    }
    fitted = audited & known
    noise = fit_noise(probabilities[fitted], pool.labels[fitted])
    scored = score_labels(pool, probabilities, audited, noise, fdr)
    listed = int(scored.suspected.sum())
    facts["label_errors"] = {
        "fdr": fdr,
        "listed": listed,
        "expected_right": float(scored.p_right[scored.suspected].sum()),
        "share": noise.share,
        "share_at_least": noise.low,
    }
    return scored, facts


def _judge(pool: Pool, folds: dict[str, Any], requested: TrainConfig, context: Context) -> dict[str, Any]:
    """Return whether the heads agree with enough labels to judge them, and a line when they do not."""
    labels = pool.labels[~pool.in_test]
    commonest, gain = float(np.bincount(labels).max() / len(labels)), skill(folds["agreement"], labels)
    possible, line = gain >= SKILL, ""
    if not possible:
        line = (
            f"the heads cannot judge these labels: they agree with {100 * folds['agreement']:.1f} % of them "
            f"(always guessing the commonest class: {100 * commonest:.1f} %); {_remedy(requested, context)}"
        )
        log.warning("%s", line)
    return {"possible": possible, "skill": gain, "commonest_class": commonest, "line": line}


def _remedy(requested: TrainConfig, context: Context) -> str:
    """Return what to do about heads that cannot judge: a better network."""
    if requested.model == AUTO:
        return "no network at hand is better: use another one (frostline models list), or more images"
    others = [name for name in candidates(context) if name != requested.model]
    names = others if requested.data in SOURCES else [AUTO, *others]
    return f"audit {requested.data} with a better network first: --model {' or '.join(names[:3])}"


def _auditable(pool: Pool, folds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether the class of each image has images in another fold, so that its label can be checked."""
    counts = np.zeros((len(pool.class_names), FOLDS), np.int64)
    np.add.at(counts, (pool.labels[folds != NEVER], folds[folds != NEVER]), 1)
    unchecked = [pool.class_names[label] for label in np.flatnonzero((counts > 0).sum(1) == 1)]
    if unchecked:
        log.warning("labels not checked, because all images of the class are in one fold: %s", ", ".join(unchecked[:5]))
    return np.asarray((counts > 0).sum(1)[pool.labels] > 1)


def _counts(pool: Pool) -> dict[str, int]:
    return {name: len(part) for name, part in zip(pool.names, pool.parts, strict=True)}


def _describe(pool: Pool, *, include_test: bool) -> str:
    counts = ", ".join(f"{count:,} {name}" for name, count in _counts(pool).items())
    if include_test:
        return f"{counts}; test labels are checked too, and correcting them changes the test set"
    return f"{counts}; test labels are not checked, test images are compared with the others"


def top_lines(found: Audit, count: int = 10) -> list[list[str]]:
    """Return the most suspicious labels as table rows: image, label, suggestion, and their probabilities."""
    pool, names, rows = found.pool, found.pool.class_names, []
    suspects = [finding for finding in found.findings if finding.kind == "label"]
    for finding in suspects[:count]:
        p, label = found.scored.probabilities[finding.image], int(pool.labels[finding.image])
        best = int(p.argmax())
        rows.append([pool.where(finding.image), names[label], names[best], f"{p[label]:.4f}", f"{p[best]:.4f}"])
    return rows
