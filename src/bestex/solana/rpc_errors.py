"""What a node says went wrong: with a request, and with a transaction."""

from collections.abc import Sequence
from typing import Any

from bestex.errors import ClusterUnavailable, RateLimited, Unavailable
from bestex.ports import TransactionError

_RATE_LIMITS = frozenset({429, -32429})
"""How providers say in JSON what others say with the HTTP status."""
_REFUSALS = {
    -32700: "the node could not read the request",
    -32600: "the node does not take the request",
    -32601: "the node does not have this method",
    -32602: "the node does not take these parameters",
    -32002: "the transaction fails in simulation",
    -32003: "a signature does not verify",
    -32006: "a precompiled program does not verify",
    -32010: "the node keeps no index of this",
    -32011: "the node keeps no history of transactions",
    -32013: "a signature has a wrong length",
    -32015: "the node cannot show a transaction of this version",
}
_BEHIND = {
    -32001: "the node has dropped this block",
    -32004: "the node does not have this block yet",
    -32005: "the node is behind",
    -32007: "the node has no block in this slot",
    -32008: "the node has no snapshot",
    -32009: "the long-term store has no block in this slot",
    -32012: "the node failed to look through its accounts",
    -32014: "the node does not know yet what became of this block",
    -32016: "the node has not reached the slot that we have seen",
}
_FAILED, _LOG, _PROGRAM = " failed: ", "Program log: ", "Program "
_CUSTOM = "custom program error: "


class RequestRefused(ClusterUnavailable):
    """A node answers and refuses: the same request will be refused again. Says nothing about what was sent before."""


def request_error(method: str, number: int, message: str) -> Unavailable:
    """A JSON-RPC error as ours."""
    if number in _RATE_LIMITS:
        return RateLimited(f"{method}: too many requests: {message}", rpc_code=number)
    meaning = _REFUSALS.get(number) or _BEHIND.get(number) or "the node failed"
    kind = RequestRefused if number in _REFUSALS else ClusterUnavailable
    return kind(f"{method}: {meaning} ({number}): {message}", rpc_code=number)


def transaction_error(error: Any, programs: Sequence[str] = (), logs: Sequence[str] = ()) -> TransactionError | None:
    """A transaction's error from JSON; None when there is none.

    `programs`: the program of each of the transaction's instructions. Where the logs tell that one of those failed
    because a program it had called failed, that one is named: the number is its own.
    """
    if error is None:
        return None
    if isinstance(error, str):
        return TransactionError(error)
    if not isinstance(error, dict) or len(error) != 1:
        return TransactionError("Unknown", message=str(error))
    return _detailed_error(*next(iter(error.items())), programs, logs)


def _detailed_error(name: str, detail: Any, programs: Sequence[str], logs: Sequence[str]) -> TransactionError:
    if name == "InstructionError" and isinstance(detail, list) and len(detail) == 2:
        return _instruction_error(int(detail[0]), detail[1], programs, logs)
    if isinstance(detail, int):
        return TransactionError(name, instruction_index=detail)
    if isinstance(detail, dict) and "account_index" in detail:
        return TransactionError(name, message=f"account index {detail['account_index']}")
    return TransactionError(name, message=str(detail))


def _instruction_error(index: int, reason: Any, programs: Sequence[str], logs: Sequence[str]) -> TransactionError:
    code = reason.get("Custom") if isinstance(reason, dict) else None
    name = reason if isinstance(reason, str) else next(iter(reason), "Unknown")
    failed_at = next((at for at, line in enumerate(logs) if line.startswith(_PROGRAM) and _FAILED in line), None)
    program = programs[index] if index < len(programs) else None
    message = name
    if failed_at is not None:
        program, _, said = logs[failed_at].removeprefix(_PROGRAM).partition(_FAILED)
        if code is not None:
            message = _last_words(logs[:failed_at]) or name
        elif said != name and not said.startswith(_CUSTOM):
            message = f"{name}: {said}"
    return TransactionError("InstructionError", index, code, program, message)


def _last_words(logs: Sequence[str]) -> str:
    """What a program said just before it failed."""
    for line in reversed(logs):
        if line.startswith(_LOG):
            return line.removeprefix(_LOG)
        if " consumed " not in line:
            break
    return ""
