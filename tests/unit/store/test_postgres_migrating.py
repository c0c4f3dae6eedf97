"""A PostgreSQL database of an earlier version, or of a later one."""

import asyncpg
import msgspec
import pytest

from bestex.errors import ConfigError
from bestex.runtime import SystemClock
from bestex.store.pg_migrate import Migration, known_migrations, migrate
from bestex.store.postgres import PostgresStore
from tests.support.orders import NOW_MS, Life, keys, pending

INSERT = """
    INSERT INTO open_orders (
        id, user_id, status, priority, seq, due_at_ms, created_at_ms, lease_owner, lease_until_ms, lease_epoch, document
    ) VALUES ($1, 'alice', $2, 0, $3, $4, $4, $5, $6, $7, $8)
"""


async def test_an_older_program_works_if_the_schema_says_so(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    known = known_migrations()
    later = Migration(len(known) + 1, "later", f"-- needs: {len(known)}\nCREATE TABLE later ();")
    await migrate(connection, [*known, later], now_ms=NOW_MS)
    store = PostgresStore(dsn, clock=SystemClock())
    await store.open()
    await store.accept(*pending(1), keys())
    await store.close()
    breaking = msgspec.structs.replace(later, number=later.number + 1, sql=f"-- needs: {later.number + 1}\nSELECT 1")
    await migrate(connection, [*known, later, breaking], now_ms=NOW_MS)
    await connection.close()
    with pytest.raises(ConfigError, match="newer"):
        await store.open()


async def test_a_migration_that_was_changed(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await migrate(connection, known_migrations(), now_ms=NOW_MS)
    changed = [msgspec.structs.replace(each, sql=each.sql + "\n") for each in known_migrations()]
    with pytest.raises(ConfigError, match="not the one"):
        await migrate(connection, changed, now_ms=NOW_MS)
    await connection.close()


async def test_events_of_a_month_are_in_its_partition(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await migrate(connection, known_migrations(), now_ms=NOW_MS)  # the first moment of 2026
    store = PostgresStore(dsn, clock=SystemClock())
    await store.open()
    await store.accept(*pending(1), keys())
    await store.close()
    assert await connection.fetchval("SELECT count(*) FROM order_events_2026_01") == 1
    assert await connection.fetchval("SELECT to_regclass('order_events_2026_03') IS NOT NULL")
    assert await connection.fetchval("SELECT count(*) FROM order_events_other") == 0
    await connection.close()


async def test_a_month_without_partition_goes_to_the_default_one(dsn: str) -> None:
    store = PostgresStore(dsn, clock=SystemClock())
    await store.open()
    order = (await store.accept(*pending(1), keys())).order
    connection = await asyncpg.connect(dsn)
    await connection.execute("SELECT create_event_partitions($1, 0)", NOW_MS)
    assert await connection.fetchval("SELECT count(*) FROM order_events_other") == 1
    await connection.close()
    assert len(await store.events(order.id)) == 1
    await store.close()


async def test_orders_of_before_there_were_functions_go_on(dsn: str) -> None:
    """What waits, what is in work, and what is confirmed: each is found by the claim that it is for."""
    connection = await asyncpg.connect(dsn)
    await migrate(connection, known_migrations()[:2], now_ms=NOW_MS)
    lives = [Life(pending(number)[0]) for number in range(4)]
    for life in lives[2:]:
        life.routed()
    for event in (lives[3].built, lives[3].submitted, lives[3].confirmed):
        event()
    free: tuple[str | None, int, int] = (None, 0, 0)
    leased, expired = ("old", NOW_MS + 900, 1), ("old", NOW_MS + 50, 1)
    for life, lease in zip(lives, (free, leased, expired, free), strict=True):
        order = life.order
        document = msgspec.json.encode(order).decode()
        await connection.execute(INSERT, order.id, order.status, order.seq, NOW_MS, *lease, document)
    await connection.close()
    store = PostgresStore(dsn, clock=SystemClock())
    await store.open()
    answer = await store.claim("w", limit=9, now_ms=NOW_MS + 100, lease_ms=1000, rate=None)
    assert [(each.order.id, each.order.lease_epoch) for each in answer.claims] == [
        (lives[2].order.id, 2),
        (lives[0].order.id, 1),
    ]
    assert answer.next_due_ms == NOW_MS + 900
    unfinal = await store.claim_unfinal("w", limit=9, now_ms=NOW_MS + 100, lease_ms=1000)
    assert [each.order.id for each in unfinal.claims] == [lives[3].order.id]
    await store.close()
