"""What a run against PostgreSQL leaves behind: the same evidence, for the same checks."""

from collections.abc import Iterable

import asyncpg
import msgspec

from bestex.orders.attempt import Attempt, AttemptState
from bestex.orders.events import decode_event
from bestex.orders.order import Order
from bestex.sim.evidence import Stored, StoredEvent
from bestex.types import OrderId

_ORDERS = """
    SELECT id, user_id, status, seq, false AS ended, document FROM open_orders
    UNION ALL
    SELECT id, user_id, status, NULL, true, document FROM ended_orders
    ORDER BY id
"""
_EVENTS = "SELECT order_id, seq, status, final, payload FROM order_events ORDER BY order_id, seq"
_ATTEMPTS = "SELECT order_id, state, slot, error, signature, document FROM attempts ORDER BY order_id, number"
_KEYS = "SELECT account, kind, key, order_id FROM idempotency_keys"
_COUNTS = """
    SELECT status, sum(orders)::bigint AS orders
    FROM (
        SELECT status, count(*) AS orders FROM open_orders GROUP BY status
        UNION ALL
        SELECT status, orders FROM ended_counts
    ) AS counted
    GROUP BY status
"""


async def read_postgres(dsn: str) -> Stored:
    """All that the stores have written, read with plain SQL in one snapshot; nothing is changed."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            stored = Stored({}, {}, {}, {}, {}, {}, [])
            _take_orders(stored, await connection.fetch(_ORDERS))
            _take_events(stored, await connection.fetch(_EVENTS))
            _take_attempts(stored, await connection.fetch(_ATTEMPTS))
            for row in await connection.fetch(_KEYS):
                stored.keys[row["account"], row["kind"], row["key"]] = OrderId(str(row["order_id"]))
            stored.counts.update((row["status"], row["orders"]) for row in await connection.fetch(_COUNTS))
            return stored
    finally:
        await connection.close()


def _take_orders(stored: Stored, rows: Iterable[asyncpg.Record]) -> None:
    for row in rows:
        order_id = OrderId(str(row["id"]))
        order = msgspec.json.decode(row["document"], type=Order)
        if order_id in stored.orders:
            stored.damage.append(f"order {order_id} is open and has ended")
        if (order.id, order.terms.user_id) != (order_id, row["user_id"]):
            stored.damage.append(f"order {order_id} of {row['user_id']} has the document of another")
        stored.orders[order_id] = order
        # An order that has ended keeps its sequence number in its document only.
        stored.rows[order_id] = row["status"], order.seq if row["ended"] else row["seq"], row["ended"]
        stored.events[order_id], stored.attempts[order_id] = [], []


def _take_events(stored: Stored, rows: Iterable[asyncpg.Record]) -> None:
    for row in rows:
        order_id, payload = OrderId(str(row["order_id"])), row["payload"].encode()
        event = decode_event(payload)
        if order_id not in stored.events:
            stored.damage.append(f"event {row['seq']} belongs to order {order_id}, which is not there")
            stored.events[order_id], stored.attempts[order_id] = [], []
        stored.events[order_id].append(StoredEvent(row["seq"], payload, event))
        order = stored.orders.get(order_id)
        final = order is not None and order.is_terminal and order.seq == row["seq"]
        if (row["status"], row["final"]) != (event.status, final):
            stored.damage.append(
                f"order {order_id}: the row of event {row['seq']} says {row['status']}, final: {row['final']}"
            )


def _take_attempts(stored: Stored, rows: Iterable[asyncpg.Record]) -> None:
    for row in rows:
        order_id = OrderId(str(row["order_id"]))
        first = msgspec.json.decode(row["document"], type=Attempt)
        if order_id not in stored.orders or row["signature"] != first.signature:
            stored.damage.append(
                f"attempt {row['signature']} of order {order_id} has no such order or another document"
            )
        attempt = msgspec.structs.replace(first, state=AttemptState(row["state"]), slot=row["slot"], error=row["error"])
        stored.attempts.setdefault(order_id, []).append(attempt)
