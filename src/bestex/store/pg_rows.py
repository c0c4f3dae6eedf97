"""Orders, events and attempts as arrays of columns, and back from rows."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, TypeAlias

import asyncpg
import msgspec

from bestex.orders.attempt import Attempt, AttemptState
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.ports import Committed
from bestex.store.lanes import Entry
from bestex.store.plan import NumberedAttempt, Step, UsedKey
from bestex.store.rows import unleased
from bestex.types import OrderId, Signature

Columns: TypeAlias = list[list[Any]]

_NULL = "\\N"
_CONTROLS = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})
_encoder = msgspec.json.Encoder()
_order: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_attempt: msgspec.json.Decoder[Attempt] = msgspec.json.Decoder(Attempt)
_replace = msgspec.structs.replace


class Copied:
    """New rows of a table as COPY takes them: cheaper than arrays, for Python and for PostgreSQL."""

    def __init__(self, table: str, columns: Sequence[str], lines: Sequence[str]) -> None:
        self.table = table
        self.columns = columns
        self._data = "".join(lines).encode()

    async def data(self) -> AsyncIterator[bytes]:
        """In one piece."""
        yield self._data


def _text(text: str) -> str:
    """As COPY wants it: a backslash begins an escape, tabs and line ends separate."""
    escaped = text.replace("\\", "\\\\")
    return escaped if escaped.isprintable() else escaped.translate(_CONTROLS)


def _json(document: bytes) -> str:
    """JSON has no control characters of its own."""
    return document.replace(b"\\", b"\\\\").decode()


def _document(value: object) -> str:
    return _json(_encoder.encode(value))


def columns(rows: Iterable[tuple[Any, ...]]) -> Columns:
    """Rows, at least one, as one list per column."""
    return [list(column) for column in zip(*rows, strict=True)]


def new_orders(entries: Iterable[Entry]) -> Copied:
    """For the table of open orders."""
    columns = ("id", "user_id", "status", "priority", "seq", "due_at_ms", "created_at_ms", "lease_epoch", "document")
    lines = [
        f"{order.id}\t{_text(order.terms.user_id)}\t{order.status}\t{order.terms.priority}\t{order.seq}\t"
        f"{order.due_at_ms}\t{order.created_at_ms}\t{order.lease_epoch}\t{_document(order)}\n"
        for order in (entry.order for entry in entries)
    ]
    return Copied("open_orders", columns, lines)


def steps(steps: Iterable[Step]) -> Columns:
    """For `step_orders`."""
    return columns(
        (
            step.order.id,
            step.order.status,
            step.order.seq,
            step.order.due_at_ms,
            _encoder.encode(step.order).decode(),
            step.release,
        )
        for step in steps
    )


def ends(steps: Iterable[Step]) -> Copied:
    """For the table of ended orders."""
    lines = [
        f"{order.id}\t{_text(order.terms.user_id)}\t{order.status}\t{_document(unleased(order))}\n"
        for order in (step.order for step in steps)
    ]
    return Copied("ended_orders", ("id", "user_id", "status", "document"), lines)


def events(committed: Iterable[Committed]) -> Copied:
    """For the table of events."""
    lines = [
        f"{event.order_id}\t{event.seq}\t{event.status}\t{'t' if event.final else 'f'}\t{_json(event.payload)}\n"
        for event in committed
    ]
    return Copied("order_events", ("order_id", "seq", "status", "final", "payload"), lines)


def keys(used: Iterable[UsedKey]) -> Copied:
    """For the table of idempotency keys, in one order: two stores never wait for each other."""
    ordered = sorted(used, key=lambda each: (each.account, each.kind, each.key))
    lines = [
        f"{_text(each.account)}\t{each.kind}\t{_text(each.key)}\t{each.order_id}\t{_text(each.request_hash)}\n"
        for each in ordered
    ]
    return Copied("idempotency_keys", ("account", "kind", "key", "order_id", "request_hash"), lines)


def new_attempts(attempts: Iterable[NumberedAttempt]) -> Copied:
    """For the table of attempts."""
    columns = (
        "order_id", "number", "state", "slot", "error", "last_valid_block_height", "signature", "document",
    )  # fmt: skip
    lines = [
        f"{each.order_id}\t{each.number}\t{each.state}\t{_NULL if each.slot is None else each.slot}\t"
        f"{_NULL if each.error is None else _text(each.error)}\t{each.last_valid_block_height}\t"
        f"{_text(each.signature)}\t{_document(each)}\n"
        for _, each in attempts
    ]
    return Copied("attempts", columns, lines)


def changed_attempts(attempts: Iterable[NumberedAttempt]) -> Columns:
    """For `step_attempts`."""
    return columns((each.order_id, each.number, each.state, each.slot, each.error) for _, each in attempts)


def order(row: asyncpg.Record) -> Order:
    """An order with its lease; one that has ended has none, and its epoch is in the document."""
    found = _order.decode(row["document"])
    epoch = row["lease_epoch"]
    if epoch is None:
        return found
    return _replace(found, lease_owner=row["lease_owner"], lease_until_ms=row["lease_until_ms"], lease_epoch=epoch)


def claimed(row: asyncpg.Record, worker: str, until_ms: int) -> tuple[Order, Attempt | None]:
    """Of the statements `claim...`."""
    found = _order.decode(row["document"])
    leased = _replace(found, lease_owner=worker, lease_until_ms=until_ms, lease_epoch=row["lease_epoch"])
    return leased, None if row["attempt"] is None else _latest(row, row["attempt"])


def place(row: asyncpg.Record, change: Order) -> Order:
    """Of the statement `lock_orders`: what is stored, as far as a change of the order is judged by it."""
    return _replace(change, seq=row["seq"], lease_epoch=row["lease_epoch"])


def attempt_place(row: asyncpg.Record, change: Attempt) -> Attempt:
    """Of the statement `attempts_of`: what is stored, as far as a change is judged by it."""
    return _replace(
        change, number=row["number"], state=AttemptState(row["state"]), signature=Signature(row["signature"])
    )


def attempt(row: asyncpg.Record) -> Attempt:
    """As it was first stored, with what has become of it."""
    return _latest(row, row["document"])


def _latest(row: asyncpg.Record, document: str) -> Attempt:
    first = _attempt.decode(document)
    return _replace(first, state=AttemptState(row["state"]), slot=row["slot"], error=row["error"])


def committed(row: asyncpg.Record, order_id: OrderId) -> Committed:
    """Of the statement `events`."""
    return Committed(order_id, row["seq"], Status(row["status"]), row["final"], row["payload"].encode())


def used_key(row: asyncpg.Record) -> UsedKey:
    """Of the statement `known_keys`."""
    return UsedKey(row["account"], row["kind"], row["key"], OrderId(row["order_id"]), row["request_hash"])
