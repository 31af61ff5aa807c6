"""What goes in and out, as the OpenAPI document describes it."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

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
