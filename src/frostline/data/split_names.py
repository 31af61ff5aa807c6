"""What people call the splits of a data set: one table for folders, tables, arrays and Hugging Face data sets."""

import re

SPLITS = ("train", "val", "test")
NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "validating", "dev", "devel", "development"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "evaluate", "holdout", "heldout"),
}
# Without case and anything but letters and digits: train, Training_Set, images-train, test_data, val2017.
_DECORATION = "(?:images?|imgs?|img|pictures?|photos?|data|dataset|split|set)?"
_PATTERNS = {
    split: re.compile(f"{_DECORATION}(?:{'|'.join(names)}){_DECORATION}(?:set|split)?(?:(?:19|20)[0-9]{{2}})?")
    for split, names in NAMES.items()
}


def split_of(name: str) -> str | None:
    """Return ``train``, ``val`` or ``test`` when a name is a usual one for that split, in any case; else ``None``."""
    plain = re.sub(r"[\W_]+", "", name.casefold())
    return next((split for split, pattern in _PATTERNS.items() if pattern.fullmatch(plain)), None)
