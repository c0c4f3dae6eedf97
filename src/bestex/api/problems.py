"""Errors as HTTP says them: RFC 9457 problem details, from one table."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
import structlog

from bestex import errors
from bestex.api import refusals
from bestex.api.refusals import FieldProblem, InternalError
from bestex.api.wire import PROBLEM_JSON, Answer
from bestex.errors import BestexError


class Kind(msgspec.Struct, frozen=True):
    """How one class of error is answered."""

    status: int
    title: str
    retryable: bool = False
    """Whether the same request may succeed later."""
    money_moved: str = "no"
    """`no`, `possible` or `yes`. An error that knows better says so in its context."""


PROBLEMS: Mapping[type[BestexError], Kind] = {
    BestexError: Kind(500, "The engine failed"),
    # Denied: nothing was stored, nothing was sent
    errors.OrderDenied: Kind(422, "The order is refused"),
    errors.InvalidOrder: Kind(422, "The order is not well-formed"),
    errors.UnknownToken: Kind(422, "No such token"),
    errors.AmountOutOfRange: Kind(422, "The amount cannot be expressed in the token"),
    errors.NoRoute: Kind(422, "No pool can trade this"),
    errors.StaleMarket: Kind(422, "The market data is too old", retryable=True),
    errors.LimitExceeded: Kind(422, "A risk limit forbids the order"),
    errors.TradingHalted: Kind(422, "Trading is switched off", retryable=True),
    errors.InsufficientFunds: Kind(422, "The wallet does not hold enough"),
    # Contradictions
    errors.OrderNotFound: Kind(404, "No such order"),
    errors.Conflict: Kind(409, "The request contradicts what is stored"),
    errors.IdempotencyMismatch: Kind(409, "The client order id belongs to another order"),
    refusals.IdempotencyKeyReused: Kind(422, "The idempotency key belongs to another request"),
    errors.StaleVersion: Kind(409, "The order has changed meanwhile", retryable=True),
    errors.IllegalTransition: Kind(409, "The order's status does not allow this"),
    # Execution
    errors.ExecutionError: Kind(502, "The order could not be executed"),
    errors.NotSent: Kind(502, "Nothing was sent", retryable=True),
    errors.OutcomeUnknown: Kind(502, "The transaction may yet land", money_moved="possible"),
    errors.AttemptDead: Kind(502, "The transaction can no longer land", retryable=True),
    errors.TransactionFailed: Kind(502, "The transaction failed on chain"),
    errors.VenueError: Kind(422, "The venue refuses"),
    errors.UnsupportedPool: Kind(422, "The pool is not supported"),
    errors.SwapRefused: Kind(422, "The venue would refuse the swap"),
    # Dependencies
    errors.Unavailable: Kind(503, "Something the engine needs does not answer", retryable=True),
    errors.StoreUnavailable: Kind(503, "The store does not answer", retryable=True),
    errors.BusUnavailable: Kind(503, "The bus does not answer", retryable=True),
    errors.ClusterUnavailable: Kind(503, "The cluster does not answer", retryable=True),
    errors.RateLimited: Kind(429, "Too many requests", retryable=True),
    errors.ConfigError: Kind(500, "The settings are wrong"),
    # The request itself
    refusals.RequestRefused: Kind(400, "The request is refused"),
    refusals.MalformedRequest: Kind(400, "The request is malformed"),
    refusals.MalformedJson: Kind(400, "The body is not a JSON object"),
    refusals.MalformedHeader: Kind(400, "A header is malformed"),
    refusals.PathNotFound: Kind(404, "Nothing is at this path"),
    refusals.MethodNotAllowed: Kind(405, "The path does not take this method"),
    refusals.RequestTimeout: Kind(408, "The body did not arrive", retryable=True),
    refusals.BodyTooLarge: Kind(413, "The body is too large"),
    refusals.UnsupportedMediaType: Kind(415, "The body must be JSON"),
    refusals.InvalidParameter: Kind(422, "A parameter is not valid"),
    refusals.UpgradeRequired: Kind(426, "This path speaks WebSocket"),
    refusals.NotReady: Kind(503, "The engine is not ready", retryable=True),
    refusals.InternalError: Kind(500, "A fault of the server"),
}
"""The one table: an error that is not in it is answered as its nearest base class."""

_log = structlog.get_logger(__name__)

_RETRY_AFTER_S = 1
_OVERRIDES = frozenset({"money_moved", "retryable", "retry_after_s", "headers"})
_encode = msgspec.json.Encoder().encode


def kind_of(error: BestexError) -> Kind:
    """The table's row for an error."""
    return next(PROBLEMS[base] for base in type(error).__mro__ if base in PROBLEMS)


def problem(error: BestexError, path: str) -> Answer:
    """The answer for an error that a request to `path` met.

    The error's context is told along. Its keys `money_moved` and `retryable` overrule the table, `retry_after_s` and
    `headers` go into the head of the answer.
    """
    kind = kind_of(error)
    retryable = bool(error.context.get("retryable", kind.retryable))
    body = {
        "type": f"/api/problems#{error.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": error.message,
        "instance": quote(path, errors="replace"),
        "code": error.code,
        "retryable": retryable,
        "moneyMoved": error.context.get("money_moved", kind.money_moved),
    }
    for name, value in error.context.items():
        if name not in _OVERRIDES and (told := _told(value)) is not None:
            body.setdefault(_camel(name), told)
    headers = [PROBLEM_JSON, *_headers(error)]
    if kind.status in {429, 503}:
        headers.append((b"retry-after", b"%d" % int(str(error.context.get("retry_after_s", _RETRY_AFTER_S)))))
    return Answer(kind.status, headers, _encode(_clean(body)))


def fault(path: str, error: Exception, **context: object) -> InternalError:
    """A fault of ours: told to the log in full, to the client not at all."""
    _log.error("a request failed", path=path, exc_info=error)
    return InternalError("the server met a fault while it handled the request; it is in its log", **context)


def table() -> Iterator[dict[str, Any]]:
    """The table for people and programs: every code, and what it means."""
    for error, kind in PROBLEMS.items():
        yield {
            "code": error.code,
            "status": kind.status,
            "title": kind.title,
            "retryable": kind.retryable,
            "moneyMoved": kind.money_moved,
            "meaning": (error.__doc__ or "").partition("\n")[0],
        }


def _headers(error: BestexError) -> list[tuple[bytes, bytes]]:
    headers = error.context.get("headers")
    return list(headers) if isinstance(headers, tuple) else []


def _told(value: object) -> object:
    """The value as JSON, None when it is not for clients' eyes."""
    if isinstance(value, str | int | float | bool):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, list | tuple) and all(isinstance(item, FieldProblem) for item in value):
        return [msgspec.to_builtins(item) for item in value]
    return None


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _clean(value: Any) -> Any:
    """Without lone surrogates, which a client's JSON may smuggle in and UTF-8 cannot hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value
