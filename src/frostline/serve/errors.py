"""Errors as RFC 9457 problem details: what went wrong and what to do, and nothing of the inside."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

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
