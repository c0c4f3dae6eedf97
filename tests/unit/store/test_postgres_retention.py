"""How long the history is kept: a clock months ahead removes it, and nothing else."""

import asyncpg
import pytest
from deploy.local.postgres import PostgresServer

from bestex.errors import OrderNotFound
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.store import pg_upkeep
from bestex.store.postgres import PostgresStore
from tests.support.clock import VirtualClock
from tests.support.orders import NOW_MS, Life, attempt, keys, pending
from tests.support.postgres import empty_database

DAY_S = 86_400.0


async def ended(store: PostgresStore, number: int, at_ms: int = NOW_MS) -> Order:
    """An order that failed after an attempt."""
    order, event = pending(number, at_ms=at_ms)
    await store.accept(order, event, keys(client_order_id=f"{at_ms}/{number}"))
    life = Life(order)
    await store.record(life.change(life.routed(), life.built()))
    made = attempt(life.order)
    await store.record(life.change(life.submitted(), attempt=made))
    await store.record(life.change(life.failed()))
    return life.order


async def tables(dsn: str) -> dict[str, int]:
    connection = await asyncpg.connect(dsn)
    names = ("open_orders", "ended_orders", "order_events", "attempts", "idempotency_keys")
    found = {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for name in names}
    await connection.close()
    return found


async def months(dsn: str) -> set[str]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'order_events'::regclass"
    )
    await connection.close()
    return {row["name"] for row in rows}


async def test_what_has_ended_goes_with_all_that_belongs_to_it(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pg_upkeep, "_MOST", 2)  # in several turns
    dsn = await empty_database(server)
    clock = VirtualClock(NOW_MS)  # the first of January 2026
    store = PostgresStore(dsn, clock=clock, retain_days=40)
    await store.open()
    old = [await ended(store, number) for number in range(5)]
    waiting = (await store.accept(*pending(9), keys(client_order_id="open"))).order
    assert "order_events_2026_01" in await months(dsn)
    clock.advance(35 * DAY_S)
    young = await ended(store, 1, clock.now_ms())
    assert (await tables(dsn))["ended_orders"] == 6
    clock.advance(10 * DAY_S)
    for _ in range(4):
        await store.ping()
    assert await tables(dsn) == {
        "open_orders": 1, "ended_orders": 1, "order_events": 5 + 5 * len(old) + 1, "attempts": 1, "idempotency_keys": 2,
    }  # fmt: skip
    for order in old:
        with pytest.raises(OrderNotFound):
            await store.order(order.id)
        assert await store.attempts(order.id) == []
    assert await store.order(young.id) == young
    assert (await store.stats(clock.now_ms(), 1)).by_status[Status.FAILED] == 1
    assert await store.history_from_ms() == young.created_at_ms
    # Its month is there for as long as an order of it is open.
    assert "order_events_2026_01" in await months(dsn)
    life = Life(waiting)
    await store.record(life.change(life.canceled()))
    clock.advance(27 * DAY_S)
    for _ in range(3):
        await store.ping()
    assert "order_events_2026_01" not in await months(dsn)
    assert await tables(dsn) == {
        "open_orders": 0, "ended_orders": 1, "order_events": 5, "attempts": 1, "idempotency_keys": 1,
    }  # fmt: skip
    await store.close()


async def test_without_a_limit_everything_is_kept(server: PostgresServer) -> None:
    dsn = await empty_database(server)
    clock = VirtualClock(NOW_MS)
    store = PostgresStore(dsn, clock=clock)
    await store.open()
    order = await ended(store, 1)
    clock.advance(4000 * DAY_S)
    await store.ping()
    await store.ping()
    assert await store.order(order.id) == order
    assert len(await store.events(order.id)) == 5
    await store.close()


def test_a_limit_below_a_day_is_refused() -> None:
    with pytest.raises(ValueError, match="retain_days is 0"):
        PostgresStore("postgresql://", clock=VirtualClock(), retain_days=0)
