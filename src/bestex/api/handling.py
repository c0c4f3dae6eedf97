"""What the documented handlers share: the way to the engine, and errors as problems."""

import re
from typing import Any, TypeAlias, cast

from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from bestex.api.front import Front
from bestex.api.problems import fault, kind_of, problem
from bestex.api.refusals import (
    FieldProblem,
    InvalidParameter,
    MethodNotAllowed,
    PathNotFound,
    RequestRefused,
)
from bestex.api.schemas import ProblemView
from bestex.api.wire import Answer, ClientGone
from bestex.errors import BestexError

HttpRequest: TypeAlias = Request[Any, Any, State]

FRONT = "bestex.front"
"""Where the scope of a request holds the engine that it is for: one documented application serves any number."""

_QUOTED = re.compile("'([^']*)'")

PROBLEM_JSON = "application/problem+json"


def front_of(request: HttpRequest) -> Front:
    """The engine behind the application."""
    return cast(Front, request.scope[FRONT])  # type: ignore[literal-required]


def also(status: int, view: type[Any], description: str) -> dict[int, ResponseSpec]:
    """A second way in which a handler may succeed, for its documentation."""
    return {status: ResponseSpec(view, generate_examples=False, description=description)}


def problems_of(*errors: type[BestexError]) -> dict[int, ResponseSpec]:
    """The problems that a handler may answer with, for its documentation."""
    codes: dict[int, list[str]] = {}
    for error in errors:
        codes.setdefault(kind_of(error("")).status, []).append(error.code)
    return {
        status: ResponseSpec(
            ProblemView, generate_examples=False, description=", ".join(names), media_type=PROBLEM_JSON
        )
        for status, names in codes.items()
    }


def to_response(answer: Answer) -> Response[bytes]:
    """An answer as the framework wants it."""
    headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
    media_type = headers.pop("content-type")
    return Response(answer.body, status_code=answer.status, headers=headers, media_type=media_type)


async def refuse_unknown_parameters(request: HttpRequest) -> None:
    """A filter that is misspelt must not be a filter that is not there."""
    known = request.route_handler.opt.get("query")
    if known is None:
        return
    unknown = [name[:64] for name in request.query_params if name not in known]
    if unknown:
        names = ", ".join(sorted(known))
        raise InvalidParameter(
            f"{unknown[0]!r} is not a parameter of this path; it takes {names}",
            errors=[FieldProblem(name, "is not a parameter of this path") for name in unknown[:10]],
        )


def on_error(request: HttpRequest, error: Exception) -> Response[bytes]:
    """Any error of a documented handler as a problem."""
    refusal = error if isinstance(error, BestexError) else _refusal(request, error)
    return to_response(problem(refusal, request.scope["path"]))


def _refusal(request: HttpRequest, error: Exception) -> BestexError:
    path = request.scope["path"]
    match error:
        case NotFoundException():
            return PathNotFound(f"nothing is at {path}; GET /docs shows what there is")
        case MethodNotAllowedException():
            allowed = (error.headers or {}).get("allow", "")
            return MethodNotAllowed(
                f"{path} does not take {request.method}; it takes {allowed}", headers=((b"allow", allowed.encode()),)
            )
        case ValidationException():
            return _invalid(error)
        case HTTPException() if error.status_code < 500:
            return RequestRefused(error.detail)
        case ClientGone():
            return RequestRefused("the client closed the connection before it had sent the body")
    return fault(path, error)


def _invalid(error: ValidationException) -> InvalidParameter:
    if isinstance(error.extra, list):
        wrong = [FieldProblem(str(each.get("key", "")), str(each.get("message", ""))) for each in error.extra]
    else:
        wrong = [FieldProblem((_QUOTED.findall(error.detail) or [""])[0], "is missing")]
    return InvalidParameter("; ".join(f"{each.field}: {each.message}" for each in wrong), errors=wrong)
