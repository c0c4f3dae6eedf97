"""Orders, events and attempts as values of the schema's types (migration 0003), and back from rows."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import asyncpg
import msgspec

from bestex.orders.attempt import LIVE, Attempt, AttemptState
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.ports import Committed
from bestex.store.lanes import Entry
from bestex.store.plan import NumberedAttempt, Step, UsedKey
from bestex.store.rows import unleased
from bestex.types import OrderId, Signature

Row: TypeAlias = tuple[Any, ...]
"""A value of one of the schema's types, field by field."""

_encoder = msgspec.json.Encoder()
_order: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_attempt: msgspec.json.Decoder[Attempt] = msgspec.json.Decoder(Attempt)
replace = msgspec.structs.replace


def _document(value: object) -> str:
    return _encoder.encode(value).decode()


def keys(used: Iterable[UsedKey]) -> list[Row]:
    """As `new_key`."""
    return [(each.account, each.kind, each.key, each.order_id, each.request_hash) for each in used]


def new_orders(entries: Iterable[Entry]) -> list[Row]:
    """As `new_order`."""
    return [
        (
            order.id,
            order.terms.user_id,
            order.status,
            order.terms.priority,
            order.seq,
            order.due_at_ms,
            order.created_at_ms,
            order.lease_epoch,
            _document(order),
        )
        for order in (entry.order for entry in entries)
    ]


def steps(steps: Iterable[Step]) -> list[Row]:
    """As `order_step`."""
    return [
        (
            order.id,
            step.entry.order.seq,
            order.lease_epoch,
            order.terms.user_id,
            order.status,
            order.seq,
            order.due_at_ms,
            _document(unleased(order) if step.ends else order),
            step.release,
            step.ends,
        )
        for step, order in ((step, step.order) for step in steps)
    ]


def events(numbered: Iterable[tuple[int, Sequence[Committed]]]) -> list[Row]:
    """As `new_event`."""
    return [
        (event.order_id, event.seq, event.status, event.final, event.payload.decode())
        for _, events in numbered
        for event in events
    ]


def attempt_steps(attempts: Iterable[NumberedAttempt]) -> tuple[list[Row], list[Row]]:
    """As `attempt_step`: attempts that are over, and those that may yet land."""
    over: list[Row] = []
    live: list[Row] = []
    for _, each in attempts:
        rows = live if each.state in LIVE else over
        rows.append((each.order_id, each.number, each.signature, each.state, each.slot, each.error))
    return over, live


def new_attempts(attempts: Iterable[NumberedAttempt]) -> list[Row]:
    """As `new_attempt`."""
    return [
        (
            each.order_id,
            each.number,
            each.state,
            each.slot,
            each.error,
            each.last_valid_block_height,
            each.signature,
            _document(each),
        )
        for _, each in attempts
    ]


def order(row: asyncpg.Record) -> Order:
    """An order with its lease; one that has ended has none, and its epoch is in the document."""
    found = _order.decode(row["document"])
    epoch = row["lease_epoch"]
    if epoch is None:
        return found
    return replace(found, lease_owner=row["lease_owner"], lease_until_ms=row["lease_until_ms"], lease_epoch=epoch)


def claimed(row: asyncpg.Record, worker: str, until_ms: int) -> tuple[Order, Attempt | None]:
    """Of the functions `claim_...`, and the statement `claimed`."""
    found = _order.decode(row["document"])
    leased = replace(found, lease_owner=worker, lease_until_ms=until_ms, lease_epoch=row["lease_epoch"])
    return leased, None if row["attempt"] is None else _latest(row, row["attempt"])


def place(row: asyncpg.Record, change: Order) -> Order:
    """Of the statement `lock_orders`: what is stored, as far as a change of the order is judged by it."""
    return replace(change, seq=row["seq"], lease_epoch=row["lease_epoch"])


def attempt_place(row: asyncpg.Record, change: Attempt) -> Attempt:
    """Of the statement `attempts_of`: what is stored, as far as a change is judged by it."""
    return replace(
        change, number=row["number"], state=AttemptState(row["state"]), signature=Signature(row["signature"])
    )


def attempt(row: asyncpg.Record) -> Attempt:
    """As it was first stored, with what has become of it."""
    return _latest(row, row["document"])


def _latest(row: asyncpg.Record, document: str) -> Attempt:
    first = _attempt.decode(document)
    return replace(first, state=AttemptState(row["state"]), slot=row["slot"], error=row["error"])


def committed(row: asyncpg.Record, order_id: OrderId) -> Committed:
    """Of the statement `events`."""
    return Committed(order_id, row["seq"], Status(row["status"]), row["final"], row["payload"].encode())


def used_key(row: asyncpg.Record) -> UsedKey:
    """Of the statement `known_keys`."""
    return UsedKey(row["account"], row["kind"], row["key"], OrderId(row["order_id"]), row["request_hash"])
