"""Rows that are read and verified once and then serve many trainings, whichever taps those read."""

from collections.abc import Sequence

from frostline.config import TrainConfig
from frostline.data.augment import THE_IMAGE, View
from frostline.data.dataset import ImageDataset
from frostline.features.dataset import CachedFeatures
from frostline.features.extract import FrozenPass
from frostline.features.forward import FastForward
from frostline.models.boundary import Boundary, Frozen
from frostline.pipeline.context import Context
from frostline.pipeline.extract import read_rows
from frostline.training.examples import Rows


class RowCache:
    """Where trainings of one network get their rows (`frostline.pipeline.extract.RowSource`).

    Rows with the last taps alone are columns of the widest ones: the frozen stages run once for all of them. Where a
    stage is thawed the rows are of another kind, and come from their own store.

    Parameters
    ----------
    frozen : Frozen
        Nothing thawed, with the most taps that a training reads.
    image_size : int
    """

    def __init__(self, frozen: Frozen, image_size: int) -> None:
        self._frozen = frozen
        self._widths = frozen.widths(image_size)
        self._kept: dict[int, CachedFeatures] = {}  # by the view's number

    def __call__(
        self,
        datasets: Sequence[ImageDataset],
        forward: FastForward,
        config: TrainConfig,
        context: Context,
        view: View = THE_IMAGE,
    ) -> tuple[list[Rows], FrozenPass]:
        """Return each data set's rows."""
        boundary = forward.frozen.boundary
        if not self._has(boundary):
            return read_rows(datasets, forward, config, context, view)
        total = sum(map(len, datasets))
        done = FrozenPass(total, total, 0.0, 0.0)
        kept = self._kept.get(view.number)
        if kept is None or any(kept.lacks(dataset.row_ids) for dataset in datasets):
            wide = FastForward(self._frozen, forward.preprocess, forward.device)
            rows, done = read_rows(datasets, wide, config, context, view)
            kept = next(row for row in rows if isinstance(row, CachedFeatures))
            self._kept[view.number] = kept
        columns = self._columns(boundary)
        return [kept.of(dataset.row_ids, columns) for dataset in datasets], done

    def _has(self, boundary: Boundary) -> bool:
        """Whether a boundary's rows are the last columns of the widest, in which the last stage stands whole."""
        same = boundary.freeze == boundary.end == self._frozen.boundary.end
        last = tuple(self._widths)[-len(boundary.taps) :] if boundary.taps else ()
        return same and (boundary.taps == last if self._widths else not boundary.taps)

    def _columns(self, boundary: Boundary) -> slice | None:
        """Return the columns of some taps; without taps the last stage is read, as it is."""
        if not self._widths:
            return None
        read = boundary.taps or (boundary.end,)
        return slice(sum(self._widths.values()) - sum(self._widths[name] for name in read), None)
