"""Writing a run folder: claim it, begin or resume, write its tables, complete it."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from frostline._utils.manifest import read_manifest
from frostline._utils.output_folder import Claim
from frostline._utils.progress import LogFile, log, log_lines
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes, write_json
from frostline._utils.text import csv_text
from frostline.config import TrainConfig, write_config
from frostline.data.dataset import BadImage
from frostline.runs.folder import AGAIN, BEGIN_FILES, EPOCH_COLUMNS, LISTED_FILES, Run, check_name
from frostline.training.checkpoint import Epoch


class OpenRun(Run):
    """A run folder that only this process may write to; ``log_file`` has the log lines so far."""

    def __init__(self, folder: Path, claim: Claim, log_file: LogFile) -> None:
        super().__init__(folder)
        self._claim, self._log_file = claim, log_file

    def begin(self, config: TrainConfig, record: Mapping[str, Any]) -> None:
        """Remove the files of an earlier run, and write settings, images and weights (`BeginRecord`)."""
        self._claim.keep()
        output = self.output
        output.mark()  # the earlier files are not listed from now on
        output.remove(output.names)
        self._log_file.write_to(self.folder / "log.txt")
        write_json(self.folder / "data.json", record, OTHER_OUTPUT_DIR)
        write_config(config, self.folder / "config.toml")
        output.mark(BEGIN_FILES)

    def resume(self) -> None:
        """Continue where an earlier process stopped."""
        self._claim.keep()
        self._log_file.write_to(self.folder / "log.txt")

    def complete(self) -> None:
        """List every file in the manifest, and mark the run as finished."""
        before = read_manifest(self.folder, AGAIN)
        known = {name: before.files[name] for name in BEGIN_FILES if name in before.files} if before else {}
        self.output.mark(LISTED_FILES, complete=True, known=known)
        self.remove_checkpoint()

    def remove_checkpoint(self) -> None:
        """Remove the training state, which a finished run does not need."""
        self.output.remove([self.checkpoint.name])


@contextmanager
def open_run(output_dir: Path, name: str, *, overwrite: bool, resume: bool) -> Iterator[OpenRun]:
    """Claim a run folder to write a new run, resume one or overwrite one.

    If the start fails before `OpenRun.begin`, the files that it made are removed, and no others.

    Raises RunError when the name is taken or invalid, or another process is writing there; StorageError when the folder
    cannot be written.
    """
    check_name(name)
    run = Run(output_dir / name)
    _refuse_taken(run, overwrite=overwrite, resume=resume)
    with run.output.claim() as claim, log_lines() as lines:
        _refuse_taken(run, overwrite=overwrite, resume=resume)  # it may have begun before the lock was taken
        yield OpenRun(run.folder, claim, lines)


def _refuse_taken(run: Run, *, overwrite: bool, resume: bool) -> None:
    state = run.state
    if state in ("finished", "unfinished") and not (overwrite or resume):
        raise run.output.exists_error(state)


def write_history(run: Run, history: Iterable[Epoch]) -> None:
    """Write ``history.csv``."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, EPOCH_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in history)
    write_bytes(run.folder / "history.csv", text.getvalue().encode(), OTHER_OUTPUT_DIR)


def write_bad_images(run: Run, bad: Sequence[BadImage]) -> None:
    """Write ``bad_images.csv``, or remove it if all images could be read."""
    path = run.folder / "bad_images.csv"
    if not bad:
        run.output.remove([path.name])
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason"])
    writer.writerows([csv_text(str(image.path)), csv_text(image.reason)] for image in bad)
    write_bytes(path, text.getvalue().encode(errors="surrogateescape"), OTHER_OUTPUT_DIR)
    log.info("unreadable images are listed in %s", path)
