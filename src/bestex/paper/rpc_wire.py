"""JSON-RPC 2.0 as Solana's nodes speak it: requests, answers, and the numbers of their errors."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec
import structlog

from bestex.errors import ClusterUnavailable
from bestex.types import Slot

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
PREFLIGHT_FAILURE = -32002
SIGNATURE_VERIFICATION_FAILURE = -32003
NODE_UNHEALTHY = -32005
HISTORY_NOT_AVAILABLE = -32011
UNSUPPORTED_VERSION = -32015
MIN_CONTEXT_SLOT_NOT_REACHED = -32016

API_VERSION = "2.3.0"
"""Of the Solana release whose answers these resemble."""

Call: TypeAlias = Callable[[str, list[Any]], Awaitable[Any]]
"""Runs a method with its parameters. Raises RpcError, ClusterUnavailable."""

_MAX_BATCH = 100
_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger(__name__)


class RpcError(Exception):
    """An answer that is an error: its number, what it says, and what goes with it."""

    def __init__(self, number: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.number = number
        self.message = message
        self.data = data


class Request(msgspec.Struct, frozen=True):
    """One call."""

    method: str
    params: list[Any]
    id: str | int | float | None
    answered: bool
    """False for a notification: the caller wants no answer."""


def in_context(slot: Slot, value: object) -> dict[str, object]:
    """A result together with the slot that it was read at."""
    return {"context": {"slot": slot, "apiVersion": API_VERSION}, "value": value}


def parse(body: bytes | str) -> Any:
    """What the bytes say. Raises RpcError."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise RpcError(PARSE_ERROR, "Parse error") from None


def read_request(spoken: object) -> Request:
    """One request. Raises RpcError for anything else."""
    if not isinstance(spoken, dict) or spoken.get("jsonrpc") != "2.0" or not isinstance(spoken.get("method"), str):
        raise RpcError(INVALID_REQUEST, "Invalid request")
    name = spoken.get("id")
    if isinstance(name, bool) or not isinstance(name, str | int | float | None):
        raise RpcError(INVALID_REQUEST, "Invalid request")
    params = spoken.get("params")
    if params is not None and not isinstance(params, list):
        raise RpcError(INVALID_PARAMS, "`params` should be an array")
    return Request(spoken["method"], params or [], name, "id" in spoken)


async def answer_body(body: bytes, call: Call, *, in_turn: bool = False) -> bytes:
    """The answer to the body of an HTTP request: one call or a batch; empty where nobody wants one.

    `in_turn`: the calls of a batch run one after the other, where none of them has to wait for anything.
    """
    try:
        spoken = parse(body)
        if isinstance(spoken, list):
            return await _answer_batch(spoken, call, in_turn=in_turn)
    except RpcError as error:
        return _encode(failure(None, error))
    answer = await answer_one(spoken, call)
    return b"" if answer is None else _encode(answer)


async def answer_one(spoken: object, call: Call) -> dict[str, object] | None:
    """The answer to one call; None to a notification."""
    try:
        request = read_request(spoken)
    except RpcError as error:
        name = spoken.get("id") if isinstance(spoken, dict) else None
        return failure(name if isinstance(name, str | int | float) else None, error)
    try:
        answer = success(request.id, await call(request.method, request.params))
    except RpcError as error:
        answer = failure(request.id, error)
    except ClusterUnavailable as error:
        answer = failure(request.id, RpcError(NODE_UNHEALTHY, f"Node is unhealthy: {error.message}", {}))
    except Exception:  # noqa: BLE001 - logged with its traceback, and the caller gets an answer
        _log.exception("rpc method failed", method=request.method)
        answer = failure(request.id, RpcError(INTERNAL_ERROR, "Internal error"))
    return answer if request.answered else None


def success(name: object, result: object) -> dict[str, object]:
    """An answer that is a result."""
    return {"jsonrpc": "2.0", "result": result, "id": name}


def failure(name: object, error: RpcError) -> dict[str, object]:
    """An answer that is an error."""
    told: dict[str, object] = {"code": error.number, "message": error.message}
    if error.data is not None:
        told["data"] = error.data
    return {"jsonrpc": "2.0", "error": told, "id": name}


async def _answer_batch(batch: list[object], call: Call, *, in_turn: bool) -> bytes:
    if not batch or len(batch) > _MAX_BATCH:
        raise RpcError(INVALID_REQUEST, f"a batch has 1 to {_MAX_BATCH} requests")
    if in_turn:
        answers = [await answer_one(spoken, call) for spoken in batch]
    else:
        answers = await asyncio.gather(*(answer_one(spoken, call) for spoken in batch))
    wanted = [answer for answer in answers if answer is not None]
    return _encode(wanted) if wanted else b""
