"""From picture files to answers: decode and classify in batches, explain."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline.errors import DataError
from frostline.images.decode import decode_image
from frostline.serve.answers import Wish
from frostline.serve.batcher import Batcher
from frostline.serve.limits import FORMATS, Limits
from frostline.serve.metrics import Metrics
from frostline.serve.model import BATCHES, Pixels, Served, begin_thread
from frostline.serve.overlay import data_address, overlay_png
from frostline.serve.problems import ProblemError

Seen = NDArray[np.float32] | DataError  # probabilities (classes,), or why there are none


class Classify:
    """The way of a picture through the server.

    Parameters
    ----------
    served : Served
    limits : Limits
    metrics : Metrics
    """

    def __init__(self, served: Served, limits: Limits, metrics: Metrics) -> None:
        self._served, self._limits, self._metrics = served, limits, metrics
        self._names = list(served.predicts.class_names)
        self._batcher = Batcher[bytes, Seen](self._look, limits, metrics, BATCHES, begin_thread)

    async def warm_up(self) -> None:
        """Run the network once: the first time takes longer."""
        side = self._served.side or 224
        blank = [np.zeros((side, side, 3), np.uint8)]
        await self._batcher.beside(lambda: self._served.predicts.predict_proba(blank))

    def close(self) -> None:
        """End the threads."""
        self._batcher.close()

    def check(self, wish: Wish) -> None:
        """Refuse what this model cannot do.

        Raises
        ------
        ProblemError
            422.
        """
        if wish.explain and not self._served.explains:
            raise ProblemError(422, "no-explanations", "this model explains nothing: leave out explain.")
        if wish.neighbours and not self._served.knows_neighbours:
            raise ProblemError(422, "no-neighbours", "this model knows no training pictures: leave out neighbours.")

    async def __call__(self, files: Sequence[tuple[str, bytes]], wish: Wish) -> list[dict[str, Any]]:
        """Return an answer for each picture, as `frostline.serve.answers.Answer` describes it.

        Raises
        ------
        ProblemError
            422 when a picture cannot be decoded, 503 when the queue is full.
        """
        names, contents = zip(*files, strict=True)
        with self._batcher.admit(len(files)):
            rows = self._rows(names, await self._batcher.classify(contents))
            order = [row.argsort()[::-1].tolist() for row in rows]  # as `frostline predict` orders
            answers: list[dict[str, Any]] = [
                {"name": name, "predictions": [self._prediction(row, number) for number in numbers[: wish.top]]}
                for name, row, numbers in zip(names, rows, order, strict=True)
            ]
            if wish.explain or wish.neighbours:
                best = [numbers[0] for numbers in order]
                await self._batcher.beside(partial(self._say_why, answers, contents, best, wish))
        self._metrics.pictures.inc(len(files))
        return answers

    def _prediction(self, row: NDArray[np.float32], number: int) -> dict[str, Any]:
        return {"class": self._names[number], "probability": float(row[number])}

    def _look(self, files: Sequence[bytes]) -> list[Seen]:
        """Decode and classify; a file that cannot be read spoils no other."""
        pictures = [self._try_to_decode(data) for data in files]
        rows = iter(self._served.predicts.predict_proba([one for one in pictures if isinstance(one, np.ndarray)]))
        return [next(rows) if isinstance(one, np.ndarray) else one for one in pictures]

    def _try_to_decode(self, data: bytes) -> Pixels | DataError:
        try:
            return self._decode(data)
        except DataError as error:
            return error

    def _decode(self, data: bytes) -> Pixels:
        return decode_image(data, self._served.side, FORMATS, self._limits.pixels)

    def _rows(self, names: Sequence[str], seen: Sequence[Seen]) -> list[NDArray[np.float32]]:
        """Return every picture's probabilities, or refuse the request for those that cannot be read."""
        wrong = [
            {"image": number, "name": name, "detail": f"{name} {str(one).removeprefix('the picture ')}"}
            for number, (name, one) in enumerate(zip(names, seen, strict=True))
            if isinstance(one, DataError)
        ]
        if wrong:
            self._metrics.refused.inc(len(wrong))
            raise ProblemError(422, "bad-image", "some pictures cannot be read: see errors.", wrong)
        return [one for one in seen if isinstance(one, np.ndarray)]

    def _say_why(
        self, answers: Sequence[dict[str, Any]], contents: Sequence[bytes], best: Sequence[int], wish: Wish
    ) -> None:
        why = self._served.why
        if why is None:
            return
        pictures = [self._decode(data) for data in contents]
        if wish.explain:
            for answer, heat in zip(answers, why.explain(pictures, best), strict=True):
                answer["overlay"] = data_address(overlay_png(heat))
        if wish.neighbours:
            for answer, near in zip(answers, why.neighbours(pictures, wish.neighbours), strict=True):
                answer["neighbours"] = [
                    {"class": one.class_name, "similarity": one.similarity, "picture": data_address(one.thumbnail)}
                    for one in near
                ]
