"""From picture files to answers: decode, classify in batches, explain."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from frostline.device import cores
from frostline.errors import DataError
from frostline.images.decode import decode_image
from frostline.serve.answers import Answer, Neighbour, Prediction, Wish
from frostline.serve.batcher import Batcher, Pixels
from frostline.serve.limits import FORMATS, Limits
from frostline.serve.metrics import Metrics
from frostline.serve.model import Served
from frostline.serve.overlay import data_address, overlay_png
from frostline.serve.problems import ProblemError


class Classify:
    """The way of a picture through the server.

    Parameters
    ----------
    served : Served
    batcher : Batcher
    limits : Limits
    metrics : Metrics
    """

    def __init__(self, served: Served, batcher: Batcher, limits: Limits, metrics: Metrics) -> None:
        self._served, self._batcher, self._limits, self._metrics = served, batcher, limits, metrics
        self._names = list(served.predicts.class_names)
        self._decoders = ThreadPoolExecutor(cores(), "frostline-decode")

    def close(self) -> None:
        """End the threads that decode."""
        self._decoders.shutdown(wait=False, cancel_futures=True)

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

    async def __call__(self, files: Sequence[tuple[str, bytes]], wish: Wish) -> list[Answer]:
        """Return an answer for each picture.

        Raises
        ------
        ProblemError
            422 when a picture cannot be decoded, 503 when the queue is full.
        """
        with self._batcher.admit(len(files)):
            pictures = await self._decode(files)
            rows = await self._batcher.predict(pictures)
            order = np.argsort(rows, axis=1)[:, ::-1]  # (N, classes), as `frostline predict` orders
            answers = [
                Answer(name=name, predictions=[self._prediction(i, row[i]) for i in best[: wish.top]])
                for (name, _), row, best in zip(files, rows, order, strict=True)
            ]
            if wish.explain or wish.neighbours:
                await self._batcher.beside(
                    partial(self._say_why, answers, pictures, [int(i) for i in order[:, 0]], wish)
                )
        self._metrics.pictures.inc(len(files))
        return answers

    def _prediction(self, number: int, probability: float) -> Prediction:
        return Prediction.model_construct(name=self._names[number], probability=float(probability))

    async def _decode(self, files: Sequence[tuple[str, bytes]]) -> list[Pixels]:
        loop = asyncio.get_running_loop()
        work = [loop.run_in_executor(self._decoders, self._decode_one, data) for _, data in files]
        done = await asyncio.gather(*work, return_exceptions=True)
        pictures, wrong = [], []
        for number, ((name, _), found) in enumerate(zip(files, done, strict=True)):
            if isinstance(found, DataError):
                detail = f"{name} {str(found).removeprefix('the picture ')}"
                wrong.append({"image": number, "name": name, "detail": detail})
            elif isinstance(found, BaseException):
                raise found
            else:
                pictures.append(found)
        if wrong:
            self._metrics.refused.inc(len(wrong))
            raise ProblemError(422, "bad-image", "some pictures cannot be read: see errors.", wrong)
        return pictures

    def _decode_one(self, data: bytes) -> Pixels:
        return decode_image(data, self._served.side, FORMATS, self._limits.pixels)

    def _say_why(self, answers: list[Answer], pictures: list[Pixels], best: Sequence[int], wish: Wish) -> None:
        why = self._served.why
        if why is None:
            return
        if wish.explain:
            heat = why.explain(pictures, best)
            for answer, one in zip(answers, heat, strict=True):
                answer.overlay = data_address(overlay_png(one))
        if wish.neighbours:
            for answer, near in zip(answers, why.neighbours(pictures, wish.neighbours), strict=True):
                answer.neighbours = [
                    Neighbour.model_construct(
                        name=one.class_name, similarity=one.similarity, picture=data_address(one.thumbnail)
                    )
                    for one in near
                ]
