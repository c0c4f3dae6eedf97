"""PostgreSQL on a disk that is full: refused at once and in plain words; as soon as there is room, all goes on."""

from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from deploy.local.postgres import PostgresServer

from bestex.errors import StoreUnavailable
from bestex.orders.order import Order
from bestex.runtime import SystemClock
from bestex.store.postgres import PostgresStore
from tests.support.orders import Life, keys, pending
from tests.support.postgres import server_with_small_disk

FILL = "CREATE TABLE filler_{} AS SELECT repeat('x', 500) FROM generate_series(1, {})"


async def fill(connection: asyncpg.Connection) -> None:
    """Take all room that there is, down to the last pages."""
    rows = 20_000
    number = 0
    while rows:
        try:
            await connection.execute(FILL.format(number, rows))
            number += 1
        except asyncpg.DiskFullError:
            rows //= 2


async def database_on(small: Path, server: PostgresServer) -> str:
    """A database with all of its tables in that folder."""
    dsn = await server.create_database()
    connection = await asyncpg.connect(server.dsn("postgres"))
    await connection.execute(f"CREATE TABLESPACE small LOCATION '{small}'")
    await connection.execute(f"ALTER DATABASE {urlsplit(dsn).path.strip('/')} SET TABLESPACE small")
    await connection.close()
    return dsn


async def accept_until_full(store: PostgresStore, kept: list[Order]) -> None:
    for number in range(1, 1000):
        answer = await store.accept(*pending(number), keys(client_order_id=str(number)))
        kept.append(answer.order)


async def test_a_full_disk() -> None:
    with server_with_small_disk("24m") as (server, small):
        dsn = await database_on(small, server)
        store = PostgresStore(dsn, clock=SystemClock(), retry_for_s=30.0)
        await store.open()
        kept = [(await store.accept(*pending(0), keys())).order]
        connection = await asyncpg.connect(dsn)
        await fill(connection)
        with pytest.raises(StoreUnavailable, match=r"(?s)No space left on device.*nothing was written"):
            await accept_until_full(store, kept)
        # What is acknowledged is there, and can be read; the first that was refused left nothing.
        assert [order.id for order in await store.active(2000)] == [order.id for order in kept]
        refused = len(kept)
        assert await store.events(pending(refused)[0].id) == []
        await connection.execute("DROP TABLE filler_0")
        await connection.close()
        assert (await store.accept(*pending(refused), keys(client_order_id=str(refused)))).created
        life = Life(kept[0])
        await store.record(life.change(life.canceled()))
        await store.close()
