"""Classification of uploaded images: decoding, batches, answers, explanations and neighbors."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline.data.decoding.file_checks import is_cheap
from frostline.data.encoding import data_url, to_png
from frostline.serve.batcher import Batcher
from frostline.serve.decoding import UploadDecoder
from frostline.serve.limits import BATCHES, Limits
from frostline.serve.metrics import Metrics
from frostline.serve.model import Pixels, ServedModel
from frostline.serve.schemas import PredictOptions, ProblemError, bad_image, busy
from frostline.serve.upload import Upload

LOW, HIGH = (255, 196, 61), (225, 62, 40)  # amber to red: visible on gray and on color, and they differ in lightness
OPACITY = 0.72  # at the maximum of a heat map


def overlay_png(heat: NDArray[np.float32]) -> bytes:
    """Return a heat map (S, S) of values 0 to 1 as a PNG to overlay on the square that the network sees."""
    mix = heat[..., None]
    color = (1 - mix) * np.array(LOW) + mix * np.array(HIGH)  # (S, S, 3)
    pixels = np.concatenate([color, 255 * OPACITY * mix], axis=-1)  # (S, S, 4)
    return to_png(np.rint(pixels).astype(np.uint8))


Row = NDArray[np.float32]  # probabilities (classes,)
Classified = tuple[Pixels, Row]


class ClassificationService:
    """Classifies the images of requests.

    Parameters
    ----------
    reject : float, optional
        Share of the validation images that may be rejected, for requests without one.
    """

    def __init__(self, model: ServedModel, limits: Limits, metrics: Metrics, reject: float | None = None) -> None:
        self._model, self._limits, self._metrics, self._reject = model, limits, metrics, reject
        self._class_names = list(model.classifier.class_names)
        self._threshold = lru_cache(128)(model.classifier.threshold)
        self._decoder = UploadDecoder(model.target, model.levels, limits)
        self._batcher = Batcher[bytes | Pixels, Classified | ProblemError](
            self._classify_batch, limits, metrics, BATCHES, model.limit_threads
        )

    async def warm_up(self) -> None:
        """Start the decoding processes, and run the network once because the first time takes longer."""
        await self._decoder.warm_up()
        side = self._model.target.side
        blank = [np.zeros((side, side, 3), np.uint8)]
        await self._batcher.run(lambda: self._model.classifier.predict_proba(blank))

    def close(self) -> None:
        """Stop the threads and processes."""
        self._batcher.close()
        self._decoder.close()

    def check(self, options: PredictOptions) -> None:
        """Raise a 422 problem for options that the model does not support."""
        if options.explain and not self._model.explains:
            raise ProblemError(422, "no-explanations", "this model cannot be explained: leave out explain.")
        if options.neighbors and not self._model.knows_neighbors:
            raise ProblemError(422, "no-neighbors", "this model has no index of training images: leave out neighbors.")
        if options.reject is not None and not self._model.rejects:
            raise ProblemError(422, "no-rejection", "this model has no rejection thresholds: leave out reject.")

    async def __call__(self, files: Sequence[Upload], options: PredictOptions) -> list[dict[str, Any]]:
        """Return an entry for each image (`frostline.serve.schemas.Answers`).

        Raises
        ------
        ProblemError
            When no image can be classified: 422, or 503 if trying again may help; also 503 when the queue is full.
        """
        images = [data for _, data in files if isinstance(data, bytes)]
        cheap = [is_cheap(data) for data in images]
        places = sum(cheap)  # costly images have a short queue of their own
        with self._batcher.admit(places), self._decoder.reserve(places):
            classified = iter(await self._classify(images, cheap))
            results = [next(classified) if isinstance(data, bytes) else data for _, data in files]
            answered = [result for result in results if not isinstance(result, ProblemError)]
            self._metrics.refused.inc(len(files) - len(answered))
            if not answered:
                raise _all_failed(files, [result for result in results if isinstance(result, ProblemError)])
            answers = iter(await self._answers(answered, options))
        self._metrics.images.inc(len(answered))
        return [
            {"name": name} | ({"error": _named(name, result)} if isinstance(result, ProblemError) else next(answers))
            for (name, _), result in zip(files, results, strict=True)
        ]

    async def _classify(self, images: Sequence[bytes], cheap: Sequence[bool]) -> list[Classified | ProblemError]:
        """Return pixels and probabilities of each image, or its problem."""
        if all(cheap):
            return await self._batcher.classify(images) if images else []
        costly = asyncio.gather(
            *(self._classify_costly(data) for data, is_cheap in zip(images, cheap, strict=True) if not is_cheap)
        )
        try:
            together = [data for data, is_cheap in zip(images, cheap, strict=True) if is_cheap]
            quick = iter(await self._batcher.classify(together) if together else [])
            slow = iter(await costly)
        finally:
            costly.cancel()
        return [next(quick) if is_cheap else next(slow) for is_cheap in cheap]

    async def _classify_costly(self, data: bytes) -> Classified | ProblemError:
        decoded = await self._decoder.decode_costly(data)
        return decoded if isinstance(decoded, ProblemError) else (await self._batcher.classify([decoded]))[0]

    def _classify_batch(self, images: Sequence[bytes | Pixels]) -> list[Classified | ProblemError]:
        """Decode the files among some images, and classify all that can be read."""
        decoded = iter(self._decoder.decode_batch([image for image in images if isinstance(image, bytes)]))
        results = [next(decoded) if isinstance(image, bytes) else image for image in images]
        pixels = [result for result in results if not isinstance(result, ProblemError)]
        rows = iter(self._model.classifier.predict_proba(pixels)) if pixels else iter(())
        return [result if isinstance(result, ProblemError) else (result, next(rows)) for result in results]

    async def _answers(self, classified: Sequence[Classified], options: PredictOptions) -> list[dict[str, Any]]:
        """Return the answer for each image, without its name."""
        rows = [row for _, row in classified]
        order = [row.argsort()[::-1].tolist() for row in rows]  # as in `frostline predict`
        answers: list[dict[str, Any]] = [
            {"predictions": [self._prediction(row, number) for number in numbers[: options.top]]}
            for row, numbers in zip(rows, order, strict=True)
        ]
        reject = self._reject if options.reject is None else options.reject
        if reject is not None:
            threshold = self._threshold(reject)
            for answer, row in zip(answers, rows, strict=True):
                answer["rejected"] = bool(row.max() < threshold)
        if options.explain or options.neighbors:
            best = [numbers[0] for numbers in order]
            await self._batcher.run(
                partial(self._explain, answers, [pixels for pixels, _ in classified], best, options)
            )
        return answers

    def _prediction(self, row: Row, number: int) -> dict[str, Any]:
        return {"class": self._class_names[number], "probability": float(row[number])}

    def _explain(
        self,
        answers: Sequence[dict[str, Any]],
        pixels: Sequence[Pixels],
        best: Sequence[int],
        options: PredictOptions,
    ) -> None:
        """Add overlays and neighbors to answers."""
        explainer = self._model.explainer
        if explainer is None:
            return
        if options.explain:
            for answer, heat in zip(answers, explainer.explain(pixels, best), strict=True):
                answer["overlay"] = data_url(overlay_png(heat))
        if options.neighbors:
            for answer, near in zip(answers, explainer.neighbors(pixels, options.neighbors), strict=True):
                answer["neighbors"] = [
                    {"class": image.class_name, "similarity": image.similarity, "image": data_url(image.thumbnail)}
                    for image in near
                ]


def _named(name: str, problem: ProblemError) -> dict[str, Any]:
    """Return the problem of an image, with its name in the detail."""
    return ProblemError(problem.status, problem.kind, f"{name} {problem.detail}").details()


def _all_failed(files: Sequence[Upload], problems: Sequence[ProblemError]) -> ProblemError:
    """Return the problem of a request none of whose images could be classified."""
    errors = [
        {"image": number, "name": name, "detail": _named(name, problem)["detail"]}
        for number, ((name, _), problem) in enumerate(zip(files, problems, strict=True))
    ]
    if any(problem.status == 503 for problem in problems):
        return busy("no image could be decoded now: try again in a moment; see errors.", errors)
    return bad_image("no image can be read: see errors.", errors)
