"""What the API refuses by itself, before the engine is asked.

RequestRefused
|- MalformedRequest       MalformedJson MalformedHeader
|- InvalidParameter       well-formed, but not what the parameter can be
|- PathNotFound MethodNotAllowed RequestTimeout BodyTooLarge UnsupportedMediaType UpgradeRequired
|- NotReady               the engine behind the API cannot work now
`- InternalError          a fault of ours
"""

import msgspec

from bestex.errors import BestexError, IdempotencyMismatch


class FieldProblem(msgspec.Struct, frozen=True):
    """What is wrong with one field of a request."""

    field: str
    message: str


class RequestRefused(BestexError):
    """The request was refused before the engine was asked."""

    code = "REQUEST_REFUSED"


class MalformedRequest(RequestRefused):
    """The request does not keep to HTTP or JSON."""

    code = "MALFORMED_REQUEST"


class MalformedJson(MalformedRequest):
    """The body is not a JSON object in UTF-8."""

    code = "MALFORMED_JSON"


class MalformedHeader(MalformedRequest):
    """A header has a value that it cannot have."""

    code = "MALFORMED_HEADER"


class InvalidParameter(RequestRefused):
    """A parameter of the path or the query has a value that it cannot have."""

    code = "INVALID_PARAMETER"


class PathNotFound(RequestRefused):
    """There is nothing at this path."""

    code = "PATH_NOT_FOUND"


class MethodNotAllowed(RequestRefused):
    """The path does not answer to this method."""

    code = "METHOD_NOT_ALLOWED"


class RequestTimeout(RequestRefused):
    """The body did not arrive in time."""

    code = "REQUEST_TIMEOUT"


class BodyTooLarge(RequestRefused):
    """The body is larger than the limit."""

    code = "BODY_TOO_LARGE"


class UnsupportedMediaType(RequestRefused):
    """The body is not sent as plain JSON."""

    code = "UNSUPPORTED_MEDIA_TYPE"


class UpgradeRequired(RequestRefused):
    """The path speaks WebSocket to a GET."""

    code = "UPGRADE_REQUIRED"


class IdempotencyKeyReused(IdempotencyMismatch):
    """The `Idempotency-Key` header was used before for a request with other content."""

    code = "IDEMPOTENCY_KEY_REUSED"


class NotReady(RequestRefused):
    """The engine behind the API cannot work now."""

    code = "NOT_READY"


class InternalError(RequestRefused):
    """A fault of the server; it is in the log."""

    code = "INTERNAL_ERROR"
