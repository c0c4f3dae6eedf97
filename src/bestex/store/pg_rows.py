"""Orders, events and attempts as arrays of columns, and back from rows."""

from collections.abc import Iterable, Sequence
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
from bestex.types import OrderId

Columns: TypeAlias = list[list[Any]]

_encoder = msgspec.json.Encoder()
_order: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_attempt: msgspec.json.Decoder[Attempt] = msgspec.json.Decoder(Attempt)
_replace = msgspec.structs.replace


def columns(rows: Iterable[tuple[Any, ...]]) -> Columns:
    """Rows, at least one, as one list per column."""
    return [list(column) for column in zip(*rows, strict=True)]


def _json(value: object) -> str:
    return _encoder.encode(value).decode()


def new_orders(entries: Iterable[Entry]) -> Columns:
    """For `insert_orders`."""
    return columns(
        (
            order.id,
            order.terms.user_id,
            order.status,
            order.terms.priority,
            order.seq,
            order.due_at_ms,
            order.created_at_ms,
            order.lease_epoch,
            _json(order),
        )
        for order in (entry.order for entry in entries)
    )


def steps(steps: Iterable[Step]) -> Columns:
    """For `step_orders`."""
    return columns(
        (step.order.id, step.order.status, step.order.seq, step.order.due_at_ms, _json(step.order), step.release)
        for step in steps
    )


def ends(steps: Iterable[Step]) -> Columns:
    """For `end_orders`."""
    return columns(
        (step.order.id, step.order.terms.user_id, step.order.status, _json(unleased(step.order))) for step in steps
    )


def events(committed: Iterable[Committed]) -> Columns:
    """For `insert_events`."""
    return columns(
        (event.order_id, event.seq, event.status, event.final, event.payload.decode()) for event in committed
    )


def keys(used: Iterable[UsedKey]) -> Columns:
    """For `insert_keys`."""
    return columns((each.account, each.kind, each.key, each.order_id, each.request_hash) for each in used)


def changed_attempts(attempts: Iterable[NumberedAttempt]) -> Columns:
    """For `step_attempts`."""
    return columns((each.order_id, each.number, each.state, each.slot, each.error) for _, each in attempts)


def new_attempts(attempts: Iterable[NumberedAttempt]) -> Columns:
    """For `insert_attempts`."""
    return columns(
        (
            each.order_id,
            each.number,
            each.state,
            each.slot,
            each.error,
            each.last_valid_block_height,
            each.signature,
            _json(each),
        )
        for _, each in attempts
    )


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


def attempt(row: asyncpg.Record) -> Attempt:
    """As it was first stored, with what has become of it."""
    return _latest(row, row["document"])


def _latest(row: asyncpg.Record, document: str) -> Attempt:
    first = _attempt.decode(document)
    return _replace(first, state=AttemptState(row["state"]), slot=row["slot"], error=row["error"])


def committed(rows: Sequence[asyncpg.Record], order_id: OrderId) -> list[Committed]:
    """Of the statement `events`."""
    return [
        Committed(order_id, row["seq"], Status(row["status"]), row["final"], row["payload"].encode()) for row in rows
    ]


def used_key(row: asyncpg.Record) -> UsedKey:
    """Of the statement `known_keys`."""
    return UsedKey(row["account"], row["kind"], row["key"], OrderId(row["order_id"]), row["request_hash"])
