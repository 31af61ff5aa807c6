"""From image files to answers: decode and classify in batches, explain."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline.data.decoding.file_checks import is_cheap
from frostline.data.thumbnails import data_url, to_png
from frostline.serve.batcher import Batcher
from frostline.serve.decoding import Decoding
from frostline.serve.limits import Limits
from frostline.serve.metrics import Metrics
from frostline.serve.model import BATCHES, Pixels, Served, begin_thread
from frostline.serve.schemas import PredictOptions, ProblemError, bad_image, busy
from frostline.serve.upload import Upload

LOW, HIGH = (255, 196, 61), (225, 62, 40)  # amber to red: seen on gray and on color, told apart by lightness too
OPAQUE = 0.72  # where an image speaks loudest


def overlay_png(heat: NDArray[np.float32]) -> bytes:
    """Return a heat map (S, S) of values 0 to 1 as a PNG that is laid over the square in an image's center."""
    mix = heat[..., None]
    color = (1 - mix) * np.array(LOW) + mix * np.array(HIGH)  # (S, S, 3)
    pixels = np.concatenate([color, 255 * OPAQUE * mix], axis=-1)  # (S, S, 4)
    return to_png(np.rint(pixels).astype(np.uint8))


Row = NDArray[np.float32]  # probabilities (classes,)
Seen = tuple[Pixels, Row]


class ClassificationService:
    """The way of an image through the server.

    Parameters
    ----------
    served : Served
    limits : Limits
    metrics : Metrics
    reject : float, optional
        The share of validation images that answers may lose, when a request names none.
    """

    def __init__(self, served: Served, limits: Limits, metrics: Metrics, reject: float | None = None) -> None:
        self._served, self._limits, self._metrics, self._reject = served, limits, metrics, reject
        self._names = list(served.predicts.class_names)
        self._threshold = lru_cache(128)(served.predicts.threshold)
        self._decoding = Decoding(served.side, served.levels, limits)
        self._batcher = Batcher[bytes | Pixels, Seen | ProblemError](self._look, limits, metrics, BATCHES, begin_thread)

    async def warm_up(self) -> None:
        """Start the processes that decode, and run the network once: the first time takes longer."""
        await self._decoding.warm_up()
        side = self._served.side or 224
        blank = [np.zeros((side, side, 3), np.uint8)]
        await self._batcher.beside(lambda: self._served.predicts.predict_proba(blank))

    def close(self) -> None:
        """End the threads and processes."""
        self._batcher.close()
        self._decoding.close()

    def check(self, wish: PredictOptions) -> None:
        """Refuse what this model cannot do.

        Raises
        ------
        ProblemError
            422.
        """
        if wish.explain and not self._served.explains:
            raise ProblemError(422, "no-explanations", "this model explains nothing: leave out explain.")
        if wish.neighbors and not self._served.knows_neighbors:
            raise ProblemError(422, "no-neighbors", "this model knows no training images: leave out neighbors.")
        if wish.reject is not None and not self._served.rejects:
            raise ProblemError(422, "no-rejection", "this model knows no thresholds to reject by: leave out reject.")

    async def __call__(self, files: Sequence[Upload], wish: PredictOptions) -> list[dict[str, Any]]:
        """Return an entry for each image, as `frostline.serve.schemas.Answers` describes them.

        Raises
        ------
        ProblemError
            When no image can be classified: 422, or 503 where trying again may help; 503, too, when the queue is full.
        """
        images = [data for _, data in files if isinstance(data, bytes)]
        cheap = [is_cheap(data) for data in images]
        places = sum(cheap)  # costly images have a queue of their own, which is short
        with self._batcher.admit(places), self._decoding.room(places):
            found = iter(await self._see(images, cheap))
            seen = [next(found) if isinstance(data, bytes) else data for _, data in files]
            answered = [one for one in seen if not isinstance(one, ProblemError)]
            self._metrics.refused.inc(len(files) - len(answered))
            if not answered:
                raise _none_of(files, [one for one in seen if isinstance(one, ProblemError)])
            answers = iter(await self._answers(answered, wish))
        self._metrics.images.inc(len(answered))
        return [
            {"name": name} | ({"error": _named(name, one)} if isinstance(one, ProblemError) else next(answers))
            for (name, _), one in zip(files, seen, strict=True)
        ]

    async def _see(self, images: Sequence[bytes], cheap: Sequence[bool]) -> list[Seen | ProblemError]:
        """Return pixels and probabilities of each image, or why there are none; ``cheap`` says which of them are."""
        if all(cheap):
            return await self._batcher.classify(images) if images else []
        costly = [self._see_alone(data) for data, is_cheap in zip(images, cheap, strict=True) if not is_cheap]
        others = asyncio.gather(*costly)
        try:
            together = [data for data, is_cheap in zip(images, cheap, strict=True) if is_cheap]
            quick = iter(await self._batcher.classify(together) if together else [])
            slow = iter(await others)
        finally:
            others.cancel()
        return [next(quick) if is_cheap else next(slow) for is_cheap in cheap]

    async def _see_alone(self, data: bytes) -> Seen | ProblemError:
        decoded = await self._decoding.alone(data)
        return decoded if isinstance(decoded, ProblemError) else (await self._batcher.classify([decoded]))[0]

    def _look(self, images: Sequence[bytes | Pixels]) -> list[Seen | ProblemError]:
        """Classify a batch, decoding what is not yet decoded; a file that cannot be read spoils no other."""
        decoded = iter(self._decoding.together([one for one in images if isinstance(one, bytes)]))
        found = [next(decoded) if isinstance(one, bytes) else one for one in images]
        pixels = [one for one in found if not isinstance(one, ProblemError)]
        rows = iter(self._served.predicts.predict_proba(pixels)) if pixels else iter(())
        return [one if isinstance(one, ProblemError) else (one, next(rows)) for one in found]

    async def _answers(self, seen: Sequence[Seen], wish: PredictOptions) -> list[dict[str, Any]]:
        """Return the answer for each image, without its name."""
        rows = [row for _, row in seen]
        order = [row.argsort()[::-1].tolist() for row in rows]  # as `frostline predict` orders
        answers: list[dict[str, Any]] = [
            {"predictions": [self._prediction(row, number) for number in numbers[: wish.top]]}
            for row, numbers in zip(rows, order, strict=True)
        ]
        reject = self._reject if wish.reject is None else wish.reject
        if reject is not None:
            threshold = self._threshold(reject)
            for answer, row in zip(answers, rows, strict=True):
                answer["rejected"] = bool(row.max() < threshold)
        if wish.explain or wish.neighbors:
            best = [numbers[0] for numbers in order]
            await self._batcher.beside(partial(self._say_why, answers, [pixels for pixels, _ in seen], best, wish))
        return answers

    def _prediction(self, row: Row, number: int) -> dict[str, Any]:
        return {"class": self._names[number], "probability": float(row[number])}

    def _say_why(
        self, answers: Sequence[dict[str, Any]], pixels: Sequence[Pixels], best: Sequence[int], wish: PredictOptions
    ) -> None:
        why = self._served.why
        if why is None:
            return
        if wish.explain:
            for answer, heat in zip(answers, why.explain(pixels, best), strict=True):
                answer["overlay"] = data_url(overlay_png(heat))
        if wish.neighbors:
            for answer, near in zip(answers, why.neighbors(pixels, wish.neighbors), strict=True):
                answer["neighbors"] = [
                    {"class": one.class_name, "similarity": one.similarity, "image": data_url(one.thumbnail)}
                    for one in near
                ]


def _named(name: str, problem: ProblemError) -> dict[str, Any]:
    """Return an image's problem, which says which image it is."""
    return ProblemError(problem.status, problem.kind, f"{name} {problem.detail}").details()


def _none_of(files: Sequence[Upload], problems: Sequence[ProblemError]) -> ProblemError:
    """Return the problem of a request of which no image could be classified."""
    errors = [
        {"image": number, "name": name, "detail": _named(name, problem)["detail"]}
        for number, ((name, _), problem) in enumerate(zip(files, problems, strict=True))
    ]
    if any(problem.status == busy("").status for problem in problems):
        return busy("no image could be decoded now: try again in a moment; see errors.", errors)
    return bad_image("no image can be read: see errors.", errors)
