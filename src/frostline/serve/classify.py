"""From picture files to answers: decode, classify in batches, explain."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from pydantic import BaseModel, Field

from frostline.device import cores
from frostline.errors import DataError
from frostline.images.decode import decode_image
from frostline.serve.answers import Answer, Neighbour, Prediction
from frostline.serve.batcher import Batcher, Pixels
from frostline.serve.limits import FORMATS, Limits
from frostline.serve.metrics import Metrics
from frostline.serve.model import Served
from frostline.serve.overlay import data_address, overlay_png
from frostline.serve.problems import ProblemError

SMALL_BYTES, SMALL_PIXELS = 8 << 10, 64 << 10  # decoded where requests are read


class Wish(BaseModel):
    """What a request asks for each picture; its query."""

    top: int = Field(5, ge=1, le=1000, description="How many classes to name.")
    explain: bool = Field(False, description="Whether to add a Grad-CAM overlay.")
    neighbours: int = Field(0, ge=0, le=12, description="How many training pictures to add.")


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
                await self._batcher.alone(
                    partial(self._say_why, answers, pictures, [int(i) for i in order[:, 0]], wish)
                )
        self._metrics.pictures.inc(len(files))
        return answers

    def _prediction(self, number: int, probability: float) -> Prediction:
        return Prediction.model_construct(name=self._names[number], probability=float(probability))

    async def _decode(self, files: Sequence[tuple[str, bytes]]) -> list[Pixels]:
        loop = asyncio.get_running_loop()
        found: list[Pixels | DataError | None] = [self._decode_small(data) for _, data in files]
        left = [number for number, one in enumerate(found) if one is None]
        if left:
            work = [loop.run_in_executor(self._decoders, self._decode_one, files[number][1]) for number in left]
            for number, decoded in zip(left, await asyncio.gather(*work), strict=True):
                found[number] = decoded
        pictures, wrong = [], []
        for number, ((name, _), one) in enumerate(zip(files, found, strict=True)):
            if isinstance(one, np.ndarray):
                pictures.append(one)
            else:
                detail = f"{name} {str(one).removeprefix('the picture ')}"
                wrong.append({"image": number, "name": name, "detail": detail})
        if wrong:
            self._metrics.refused.inc(len(wrong))
            raise ProblemError(422, "bad-image", "some pictures cannot be read: see errors.", wrong)
        return pictures

    def _decode_small(self, data: bytes) -> Pixels | None:
        """Return the pixels of a picture that is decoded sooner than another thread wakes up."""
        if len(data) > SMALL_BYTES:
            return None
        try:
            return decode_image(data, self._served.side, FORMATS, min(SMALL_PIXELS, self._limits.pixels))
        except DataError:  # too large, or damaged: the other threads tell
            return None

    def _decode_one(self, data: bytes) -> Pixels | DataError:
        try:
            return decode_image(data, self._served.side, FORMATS, self._limits.pixels)
        except DataError as error:
            return error

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
