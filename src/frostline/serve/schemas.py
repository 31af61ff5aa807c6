"""What goes in and out, as the OpenAPI document describes it."""

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
    """Take null out of a schema: a query cannot say it, and leaves the name out."""
    schema |= schema.pop("anyOf")[0]
    del schema["default"]


class PredictOptions(BaseModel):
    """What a request asks for each image: its query."""

    top: int = Field(5, ge=1, le=1000, description="How many classes to name.")
    explain: bool = Field(False, description="Whether to add a Grad-CAM overlay.")
    neighbors: int = Field(0, ge=0, le=12, description="How many training images to add.")
    reject: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None,
        ge=0,
        le=MOST,
        json_schema_extra=_without_null,
        description="Say of each whether it is `rejected`: below the confidence that loses at most this share of "
        "the validation images.",
    )


class Images(BaseModel):
    """Images as JSON."""

    model_config = ConfigDict(extra="forbid")

    images: list[str] = Field(
        description="Image files (PNG, JPEG, WebP, GIF, BMP, TIFF), each as base64 or as a `data:` URI in base64."
    )


class Prediction(BaseModel):
    """A class and how probable it is."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(alias="class")
    probability: float = Field(ge=0, le=1)


class NeighborResult(BaseModel):
    """A training image that looks alike."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(alias="class", description="Its label.")
    similarity: float = Field(description="1 is the same.")
    image: str = Field(description="A small image, as a data address.")


class Answer(BaseModel):
    """What the model says of one image."""

    name: str = Field(description="The file's name as it came, without folders.")
    predictions: list[Prediction] = Field(description="The most probable first.")
    rejected: bool | None = Field(
        default=None,
        description="Whether it counts as unknown; only when `reject` was asked, or the server always does.",
    )
    overlay: str | None = Field(
        default=None, description="What the best class was seen by (Grad-CAM), a PNG as a data address."
    )
    neighbors: list[NeighborResult] | None = Field(default=None, description="The nearest training images first.")


class Refusal(BaseModel):
    """An image that could not be classified, and why."""

    name: str = Field(description="The file's name as it came, without folders.")
    error: "Problem"


class Answers(BaseModel):
    """One entry for each image, in their order.

    An image that cannot be classified costs the others nothing: its entry has `error` in place of `predictions`. A
    request of which no image can be classified is refused as a whole, with 422, or 503 when it is worth trying again.
    """

    results: list[Answer | Refusal]


class About(BaseModel):
    """The model and what the server takes."""

    api: int = Field(
        description="Version of this interface. 2: an entry of `results` may be an error; raw bodies and `data:` URIs."
    )
    name: str
    kind: str = Field(description="run, bundle or onnx.")
    classes: list[str]
    explains: bool = Field(description="Whether `explain=true` is answered.")
    neighbors: bool = Field(description="Whether `neighbors=N` is answered.")
    rejects: bool = Field(description="Whether `reject=X` is answered.")
    reject: float | None = Field(default=None, description="What `reject` is when a request does not say.")
    formats: list[str]
    limits: dict[str, int | float]
    version: str


class Health(BaseModel):
    """Whether the server lives, or is ready."""

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
MOST_ERRORS = 20  # that are listed


class ProblemError(Exception):
    """A request that gets no answer.

    Parameters
    ----------
    status : int
        HTTP's number for it.
    kind : str
        A short name that stays the same, for programs.
    detail : str
        What was expected, what came and what to do.
    errors : list of dict, optional
        Which images or values, and why.
    headers : mapping, optional
        To be sent along.
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
        """Return the problem as `frostline.serve.schemas.Problem` describes it."""
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
        """Return the answer that says it."""
        return Response(self.body(), self.status, self.headers, MEDIA_TYPE)


def busy(detail: str, errors: list[dict[str, Any]] | None = None) -> ProblemError:
    """Return the one deliberate 503: come back in a moment."""
    return ProblemError(503, "busy", detail, errors, headers={"Retry-After": str(RETRY_SECONDS)})


def bad_image(detail: str, errors: list[dict[str, Any]] | None = None) -> ProblemError:
    """Return the problem of an image that cannot be read, or of a request that has no other."""
    return ProblemError(422, "bad-image", detail, errors)


async def answer_http(_: Request, error: Exception) -> Response:
    """Answer what the router refuses: an unknown path or method."""
    refused = cast(HTTPException, error)
    said = {404: "there is nothing under this path: see /openapi.json.", 405: "this path does not take this method."}
    detail = said.get(refused.status_code, HTTPStatus(refused.status_code).phrase)
    kind = HTTPStatus(refused.status_code).name.lower().replace("_", "-")
    return ProblemError(refused.status_code, kind, detail, headers=refused.headers).response()


async def answer_defect(_: Request, __: Exception) -> Response:
    """Answer a defect of ours; the log has the rest."""
    return ProblemError(500, "defect", "something went wrong on this side; the log has it.").response()


def invalid(errors: list[dict[str, Any]]) -> ProblemError:
    """Return the problem for values that pydantic refused, without echoing them."""
    listed = [{"where": ".".join(map(str, error["loc"])), "detail": error["msg"]} for error in errors[:MOST_ERRORS]]
    return ProblemError(422, "invalid", "some values are not what is expected: see errors.", listed)
