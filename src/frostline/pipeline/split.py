"""The images of a run: trained on, choosing settings, and measuring the result."""

from dataclasses import dataclass
from functools import cached_property

from frostline._utils.progress import log
from frostline.config import TrainConfig
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.overlap import Overlap, overlaps
from frostline.data.splits import limited, per_class, train_val
from frostline.errors import ConfigError


@dataclass(frozen=True)
class RunSplits:
    """The images of a run: trained on, choosing settings, and measuring the result.

    ``test`` has no images where none are to be held out (``--test-fraction 0``).
    """

    train: ImageDataset
    val: ImageDataset
    test: ImageDataset

    @property
    def by_name(self) -> dict[str, ImageDataset]:
        """The splits as ``metrics.json`` calls them."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @cached_property
    def overlaps(self) -> dict[str, Overlap]:
        """The images that every two splits share; see `frostline.data.overlap`."""
        return overlaps(self.by_name)


def split(splits: Splits, config: TrainConfig) -> RunSplits:
    """Draw the images of a run: limited, validation out of train unless the data set has its own, few labels."""
    train_set, val_set, test_set = splits.train, splits.val, splits.test
    if config.limit is not None:
        few = max(config.limit // 6, 1)
        train_set = train_set.subset(limited(train_set.labels, config.limit, config.seed))
        test_set = test_set.subset(limited(test_set.labels, few, config.seed))
        val_set = val_set and val_set.subset(limited(val_set.labels, few, config.seed))
    if val_set is None:
        chosen, held_out = train_val(train_set.labels, config.val_fraction, config.seed, train_set.groups)
        val_set, train_set = train_set.subset(held_out), train_set.subset(chosen)
        if not len(val_set):
            raise ConfigError(
                f"no validation split can be drawn from {len(train_set):,} images: give it more, or more --limit."
            )
    if config.labels_per_class is not None:
        train_set = train_set.subset(per_class(train_set.labels, config.labels_per_class, config.seed))
        log.info(
            "training on %d labeled images per class; the validation split's %s labels choose the %s",
            config.labels_per_class,
            f"{len(val_set):,}",
            {"ridge": "strength", "auto": "strength or the epoch"}.get(config.head, "epoch"),
        )
    return RunSplits(train_set, val_set, test_set)
