"""What TensorBoard reads: event files in ``runs/NAME/tensorboard``."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import tomli_w

from frostline.config import TrainConfig
from frostline.training.checkpoint import EPOCH_METRICS, Epoch

HEADER, FOOTER = 12, 4  # bytes around an event: its length (8) and checksum, the event's checksum


class EventFiles:
    """A folder of event files: a new one each time a run goes on, with the steps that the others lack.

    Parameters
    ----------
    folder : Path
    config : TrainConfig
        Kept as text.
    resumed : bool
        Go on with what earlier files of the folder hold.
    """

    def __init__(self, folder: Path, config: TrainConfig, *, resumed: bool) -> None:
        from tensorboardX import SummaryWriter

        there = set(scalars(folder)) if resumed else set()
        self._last = max((step for name, step, _ in there if name == EPOCH_METRICS[0]), default=0)
        self._results = {name for name, _, _ in there} - set(EPOCH_METRICS)
        number = len(list(folder.glob("events.*")))  # two within a second must not have one name
        self._writer = SummaryWriter(str(folder), filename_suffix=f".{number}.frostline")  # by that name they are ours
        if not number:
            settings = tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
            self._writer.add_text("config.toml", f"```\n{settings}```", 0)

    def epochs(self, history: Sequence[Epoch]) -> None:
        """Keep the epochs that are new, step by epoch."""
        for epoch in history:
            if epoch.epoch > self._last:
                for name in EPOCH_METRICS:
                    self._writer.add_scalar(name, getattr(epoch, name), epoch.epoch)
                self._last = epoch.epoch
        self._writer.flush()

    def results(self, results: dict[str, float], step: int) -> None:
        """Keep what is not there yet, at the last step."""
        for name, value in results.items():
            if name not in self._results:
                self._writer.add_scalar(name, value, step)

    def close(self, status: str) -> None:
        """Write what is left."""
        self._writer.close()


def scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Yield (name, step, value) of all event files of a folder; a truncated event at the end of a file is left out.

    TensorBoardX has no reader, and TensorBoard's is in a package that ``frostline[track]`` does not install.
    """
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob("events.*")):
        data, place = path.read_bytes(), 0
        while place + HEADER <= len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            if place + HEADER + length + FOOTER > len(data):
                break
            event = Event.FromString(data[place + HEADER : place + HEADER + length])
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    yield value.tag, event.step, value.simple_value
            place += HEADER + length + FOOTER
