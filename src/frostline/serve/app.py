"""The FastAPI application: routes, request handling and the OpenAPI document."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from functools import lru_cache
from importlib.resources import files
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from frostline import __version__
from frostline.data.encoding import data_url
from frostline.serve.classify import ClassificationService
from frostline.serve.docs_page import docs_page
from frostline.serve.limits import FORMATS, Limits
from frostline.serve.metrics import Metrics
from frostline.serve.middleware import Keys, SecurityMiddleware
from frostline.serve.model import ServedModel
from frostline.serve.schemas import (
    MEDIA_TYPE,
    About,
    AccuracyResult,
    Answers,
    ClassExamples,
    Health,
    Images,
    PredictOptions,
    Problem,
    ProblemError,
    answer_defect,
    answer_http,
    busy,
    invalid,
)
from frostline.serve.upload import FIELD, BodyReader, ClientGoneError, parse_images

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]
PREDICT = "/v1/predict"
API = 2  # see `frostline.serve.schemas.About`
IMAGE_SCHEMA = {"type": "string", "format": "binary", "description": "An image file."}
PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/show.js": ("show.js", "text/javascript; charset=utf-8"),
    "/camera.js": ("camera.js", "text/javascript; charset=utf-8"),
    "/files.js": ("files.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def make_app(
    model: ServedModel,
    limits: Limits,
    keys: Keys | None = None,
    *,
    any_host: bool = False,
    reject: float | None = None,
) -> ASGIApp:
    """Return the application that serves a model.

    Parameters
    ----------
    keys : Keys, optional
        Without them, no key is required.
    any_host : bool
        Whether a request may name a host other than loopback.
    reject : float, optional
        Default of the option of the same name.
    """
    metrics = Metrics()
    classify = ClassificationService(model, limits, metrics, reject)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await classify.warm_up()
        yield
        classify.close()

    app = FastAPI(
        title="Frostline",
        version=__version__,
        description=f"Classifies images with the model '{model.name}'.",
        docs_url=None,  # FastAPI's pages load scripts from a CDN
        redoc_url=None,
        lifespan=lifespan,
        responses=_problems(400, 401, 405, 421, 422) if keys else _problems(400, 405, 421, 422),
    )
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(Exception, answer_defect)
    predict = _add_predict(app, classify, limits, metrics)
    _add_state(app, model, limits, metrics, reject)
    _add_page(app)
    if keys:
        _describe_keys(app)
    _add_docs(app, with_key=keys is not None)
    return SecurityMiddleware(_with_direct_predict(app, predict), keys, any_host, limits, metrics)


def _with_direct_predict(app: ASGIApp, predict: Handler) -> ASGIApp:
    """Return the application with ``POST /v1/predict`` routed directly to its handler.

    FastAPI has the same handler as a route, which it describes. Its unused layers and dependencies take about as long
    as the handler itself.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if (scope["type"], scope.get("method"), scope.get("path")) != ("http", "POST", PREDICT):
            await app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await predict(request)
        except ProblemError as problem:
            response = problem.response()
        except Exception as error:
            await (await answer_defect(request, error))(scope, receive, send)
            raise
        await response(scope, receive, send)

    return call


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {status: {"model": Problem, "content": {MEDIA_TYPE: schema}} for status in statuses}


def _add_page(app: FastAPI) -> None:
    def route(content: bytes, media_type: str) -> Callable[[], Coroutine[Any, Any, Response]]:
        async def get() -> Response:
            return Response(content, media_type=media_type)

        return get

    folder = files("frostline.serve") / "static"
    for path, (name, media_type) in PAGE.items():
        endpoint = route((folder / name).read_bytes(), media_type)
        app.add_api_route(path, endpoint, methods=["GET"], include_in_schema=False)


def _add_docs(app: FastAPI, *, with_key: bool) -> None:
    async def docs(request: Request) -> Response:
        address = str(request.base_url)
        return Response(docs_page(app.openapi(), address, with_key=with_key), media_type="text/html; charset=utf-8")

    app.add_api_route("/docs", docs, methods=["GET"], include_in_schema=False)


def _add_state(app: FastAPI, served: ServedModel, limits: Limits, metrics: Metrics, reject: float | None) -> None:
    about = About(
        api=API,
        name=served.name,
        kind=served.kind,
        classes=list(served.classifier.class_names),
        explains=served.explains,
        neighbors=served.knows_neighbors,
        rejects=served.rejects,
        reject=reject,
        fit=served.target.fit,
        accuracy=AccuracyResult(**asdict(served.accuracy)) if served.accuracy else None,
        formats=list(FORMATS),
        limits=limits.public(),
        version=__version__,
    )

    @app.get("/v1/model")
    async def model() -> About:
        """Describe the model: its classes, the supported options, and the limits of the server."""
        return about

    shown = [{"class": name, "image": data_url(image)} for name, image in served.examples]
    examples = ClassExamples.model_validate({"examples": shown})

    @app.get("/v1/examples")
    async def show_examples() -> ClassExamples:
        """Return training images of each class; empty where the model has none."""
        return examples

    @app.get("/healthz")
    async def healthz() -> Health:
        """Report that the server is running."""
        return Health(status="ok")

    @app.get("/readyz")
    async def readyz() -> Health:
        """Report that the model is loaded; before that no connection is accepted."""
        return Health(status="ready")

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def show_metrics() -> Response:
        """Return the metrics of the server, for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_predict(app: FastAPI, classify: ClassificationService, limits: Limits, metrics: Metrics) -> Handler:
    bodies = BodyReader(limits, metrics)
    body = {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _multipart_schema(limits.images)},
            "application/json": {"schema": _json_schema(limits.images)},
            "application/octet-stream": {"schema": IMAGE_SCHEMA},
            "image/*": {"schema": IMAGE_SCHEMA},
        },
    }

    @app.post(
        PREDICT,
        response_model=Answers,
        response_model_exclude_none=True,
        openapi_extra={"requestBody": body, "parameters": _parameters(PredictOptions)},
        responses=_problems(408, 413, 415, 503),
    )
    async def predict(request: Request) -> Response:
        """Classify 1 to 32 images.

        An image that cannot be classified has an `error` in its entry of `results`; the others are classified. Version
        1 of this interface refused the whole request instead.
        """
        options = _parse_options(request.scope["query_string"].decode("latin-1"))
        classify.check(options)
        try:
            with bodies.open() as body:
                try:
                    async with asyncio.timeout(limits.body_seconds):
                        await bodies.read(request, body)
                except TimeoutError as error:
                    raise ProblemError(
                        408, "slow-body", f"the body was not complete within {limits.body_seconds:g} s: send it again."
                    ) from error
                images = parse_images(body.take(), request.headers.get("content-type", ""), limits)
                answers = await _unless_gone(request, classify(images, options), limits.answer_seconds)
        except ClientGoneError:
            metrics.gone.inc()
            return Response(status_code=499)
        return Response(to_json({"results": answers}), media_type="application/json")

    return predict


@lru_cache(64)
def _parse_options(query: str) -> PredictOptions:
    """Return the options in a query, or raise a 422 problem; cheaper than FastAPI's parsing of each parameter."""
    try:
        return PredictOptions.model_validate(dict(parse_qsl(query, keep_blank_values=True)))
    except ValidationError as error:
        raise invalid([dict(e) | {"loc": ("query", *e["loc"])} for e in error.errors()]) from error


async def _unless_gone(request: Request, work: Awaitable[T], seconds: float) -> T:
    """Return the result of some work, and cancel it when the client disconnects or the time is up."""
    gone = asyncio.create_task(_disconnect(request))
    limit = asyncio.timeout(seconds)

    def stop(_: asyncio.Task[None]) -> None:
        with suppress(RuntimeError):  # the work is done
            limit.reschedule(0.0)

    gone.add_done_callback(stop)
    try:
        async with limit:
            return await work
    except TimeoutError as error:
        if gone.done():
            raise ClientGoneError from error
        raise busy(f"no answer within {seconds:g} s: try again in a moment.") from error
    finally:
        gone.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    """Return the fields of a model as OpenAPI parameters."""
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in query.model_json_schema()["properties"].items()
    ]


def _multipart_schema(most: int) -> dict[str, Any]:
    many = {"type": "array", "items": IMAGE_SCHEMA, "minItems": 1, "maxItems": most}
    return {"type": "object", "properties": {FIELD: many}, "required": [FIELD], "additionalProperties": False}


def _json_schema(most: int) -> dict[str, Any]:
    schema = Images.model_json_schema()
    schema["properties"][FIELD] |= {"minItems": 1, "maxItems": most}
    schema["properties"][FIELD]["items"] = {"type": "string", "format": "byte", "contentEncoding": "base64"}
    return schema


def _describe_keys(app: FastAPI) -> None:
    document = app.openapi()
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path in (PREDICT, "/v1/model", "/v1/examples", "/metrics"):
        for operation in document["paths"][path].values():
            operation["security"] = [{"key": []}]
