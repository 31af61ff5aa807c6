"""What a person says about a data set of their own: columns of a table, where its paths start, how much to test on."""

from dataclasses import dataclass, fields
from pathlib import Path

TEST_FRACTION = 0.15


@dataclass(frozen=True)
class SourceOptions:
    """How a folder, table or file of arrays is read.

    Parameters
    ----------
    path_column, label_column, split_column, group_column : str, optional
        Names of a table's columns; the usual names are looked for when left out.
    root : Path, optional
        The folder that a table's paths start from; the table's own when left out.
    test_fraction : float
        Share of each class that is drawn as test split where there is none; 0 draws none.
    """

    path_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    group_column: str | None = None
    root: Path | None = None
    test_fraction: float = TEST_FRACTION

    @property
    def of_tables(self) -> list[str]:
        """The options given that only a table can have, as on the command line."""
        return [
            f"--{field.name.replace('_', '-')}"
            for field in fields(self)
            if field.name != "test_fraction" and getattr(self, field.name) is not None
        ]


DEFAULTS = SourceOptions()
