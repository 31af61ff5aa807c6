"""Schemas of requests, answers and errors, as in the OpenAPI document."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from frostline.evaluation.rejection import MOST


def _without_null(schema: dict[str, Any]) -> None:
    """Remove null from a schema, which a query cannot express."""
    schema |= schema.pop("anyOf")[0]
    del schema["default"]


class PredictOptions(BaseModel):
    """Options of a prediction: the query of the request."""

    top: int = Field(5, ge=1, le=1000, description="Number of classes to return.")
    explain: bool = Field(False, description="Whether to add a Grad-CAM overlay.")
    neighbors: int = Field(0, ge=0, le=12, description="Number of nearest training images to add.")
    reject: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None,
        ge=0,
        le=MOST,
        json_schema_extra=_without_null,
        description="Mark each image as `rejected` below the confidence at which at most this share of the "
        "validation images is lost.",
    )


class Images(BaseModel):
    """Images in a JSON body."""

    model_config = ConfigDict(extra="forbid")

    images: list[str] = Field(
        description="Image files (PNG, JPEG, WebP, GIF, BMP, TIFF), each as base64 or as a `data:` URI in base64."
    )


class Prediction(BaseModel):
    """A class and its probability."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(alias="class")
    probability: float = Field(ge=0, le=1)


class NeighborResult(BaseModel):
    """A similar training image."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(alias="class", description="Label of the image.")
    similarity: float = Field(description="At most 1, for an identical image.")
    image: str = Field(description="A thumbnail, as a data: URI.")


class Answer(BaseModel):
    """The classification of one image."""

    name: str = Field(description="The name of the file, without folders.")
    predictions: list[Prediction] = Field(description="The most probable first.")
    rejected: bool | None = Field(
        default=None,
        description="Whether the image counts as unknown; only with `reject`, in the request or of the server.",
    )
    overlay: str | None = Field(default=None, description="Grad-CAM overlay for the best class, a PNG as a data: URI.")
    neighbors: list[NeighborResult] | None = Field(default=None, description="Nearest first.")


class Refusal(BaseModel):
    """An image that could not be classified, and its error."""

    name: str = Field(description="The name of the file, without folders.")
    error: "Problem"


class Answers(BaseModel):
    """One entry for each image, in the same order.

    An image that cannot be classified does not affect the others: its entry has `error` instead of `predictions`. If
    no image of a request can be classified, the response is an error, 422 or 503 (try again).
    """

    results: list[Answer | Refusal]


class AccuracyResult(BaseModel):
    """The accuracy of the model on the images that it was tested with."""

    value: float = Field(ge=0, le=1)
    low: float = Field(description="Lower end of the 95 % interval.")
    high: float
    images: int
    split: str = Field(description="test, or val where there were no test images (optimistic).")


class Example(BaseModel):
    """A training image."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(alias="class")
    image: str = Field(description="A thumbnail, as a data: URI.")


class ClassExamples(BaseModel):
    """Some training images of each class, in the order of the classes."""

    examples: list[Example]


class About(BaseModel):
    """The model and the limits of the server."""

    api: int = Field(
        description="Version of this interface. 2: an entry of `results` may be an error; raw bodies and `data:` URIs."
    )
    name: str
    kind: str = Field(description="run, bundle or onnx.")
    classes: list[str]
    explains: bool = Field(description="Whether `explain=true` is supported.")
    neighbors: bool = Field(description="Whether `neighbors=N` is supported.")
    rejects: bool = Field(description="Whether `reject=X` is supported.")
    reject: float | None = Field(default=None, description="Default of `reject`.")
    fit: str = Field(description="How an image becomes square: pad, crop or squash.")
    accuracy: AccuracyResult | None = Field(default=None, description="Where it is known.")
    formats: list[str]
    limits: dict[str, int | float]
    version: str


class Health(BaseModel):
    """State of the server."""

    status: str


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None


MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
MAX_ERRORS = 20  # that are listed


class ProblemError(Exception):
    """A request, or an image of it, that cannot be answered.

    Parameters
    ----------
    status : int
        HTTP status.
    kind : str
        Short, stable name for programs.
    detail : str
        What was expected, what came and what to do.
    errors : list of dict, optional
        The images or values concerned, and their errors.
    headers : mapping, optional
        Sent with the response.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        errors: list[dict[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.errors = status, kind, detail, errors
        self.headers = dict(headers or {})

    def details(self) -> dict[str, Any]:
        """Return the fields of `Problem`."""
        problem: dict[str, Any] = {
            "type": f"urn:frostline:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors is not None:
            problem["errors"] = self.errors
        return problem

    def body(self) -> bytes:
        """Return the problem as JSON."""
        return json.dumps(self.details(), ensure_ascii=False).encode()

    def response(self) -> Response:
        """Return the problem as a response."""
        return Response(self.body(), self.status, self.headers, MEDIA_TYPE)


def busy(detail: str, errors: list[dict[str, Any]] | None = None) -> ProblemError:
    """Return a 503 with a Retry-After header."""
    return ProblemError(503, "busy", detail, errors, headers={"Retry-After": str(RETRY_SECONDS)})


def bad_image(detail: str, errors: list[dict[str, Any]] | None = None) -> ProblemError:
    """Return the problem of an image, or of all images of a request, that cannot be read."""
    return ProblemError(422, "bad-image", detail, errors)


async def answer_http(_: Request, error: Exception) -> Response:
    """Return the response to an unknown path or method."""
    refused = cast(HTTPException, error)
    details = {404: "unknown path: see /openapi.json.", 405: "this path does not support this method."}
    detail = details.get(refused.status_code, HTTPStatus(refused.status_code).phrase)
    kind = HTTPStatus(refused.status_code).name.lower().replace("_", "-")
    return ProblemError(refused.status_code, kind, detail, headers=refused.headers).response()


async def answer_defect(_: Request, __: Exception) -> Response:
    """Return the response to an unexpected error, which the log has."""
    return ProblemError(500, "defect", "internal error: see the log of the server.").response()


def invalid(errors: list[dict[str, Any]]) -> ProblemError:
    """Return the problem of values that pydantic refused, without repeating them."""
    listed = [{"where": ".".join(map(str, error["loc"])), "detail": error["msg"]} for error in errors[:MAX_ERRORS]]
    return ProblemError(422, "invalid", "some values are invalid: see errors.", listed)
