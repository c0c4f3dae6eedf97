"""A PostgreSQL server that goes away, in every way that we can make it: nothing acknowledged is lost, or doubled."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import asyncpg
import pytest
from deploy.local.postgres import PostgresServer

from bestex.errors import StaleVersion, StoreUnavailable
from bestex.ports import Committed
from bestex.runtime import SystemClock
from bestex.store.postgres import PostgresStore
from bestex.types import OrderId
from tests.support.orders import NOW_MS, Life, keys, pending
from tests.support.postgres import count

SESSIONS = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
LONG_S = 30.0
"""More than any restart takes."""


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[PostgresStore]:
    opened = PostgresStore(dsn, clock=SystemClock(), retry_for_s=LONG_S)
    await opened.open()
    yield opened
    await opened.close()


async def refuses_writes(dsn: str) -> bool:
    connection = await asyncpg.connect(dsn)
    shown = await connection.fetchval("SHOW default_transaction_read_only")
    await connection.close()
    return bool(shown == "on")


class Heard:
    def __init__(self) -> None:
        self.events: list[tuple[OrderId, int]] = []

    def __call__(self, events: Sequence[Committed]) -> None:
        self.events += [(event.order_id, event.seq) for event in events]


class Load:
    """Clients that place orders and cancel them, all the time."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._next = 0
        self._stopped = False
        self.done: list[OrderId] = []
        self.errors: list[Exception] = []

    async def client(self) -> None:
        while not self._stopped:
            self._next += 1
            number = self._next
            try:
                order = (await self._store.accept(*pending(number), keys(client_order_id=str(number)))).order
                life = Life(order)
                await self._store.record(life.change(life.canceled()))
            except Exception as error:  # noqa: BLE001 - looked at in the end
                self.errors.append(error)
                return
            else:
                self.done.append(order.id)

    async def reach(self, count: int) -> None:
        """Wait until so many more are done."""
        wanted = len(self.done) + count
        async with asyncio.timeout(LONG_S):
            while len(self.done) < wanted and not self.errors:
                await asyncio.sleep(0.001)

    def stop(self) -> None:
        self._stopped = True


async def under_load(store: PostgresStore, disturb: Callable[[], object], times: int) -> None:
    """Disturb the server again and again; each order must be there once, whole, and heard of once."""
    heard, load = Heard(), Load(store)
    store.on_commit(heard)
    clients = [asyncio.create_task(load.client()) for _ in range(20)]
    for _ in range(times):
        await load.reach(100)
        await asyncio.to_thread(disturb)
    await load.reach(100)
    load.stop()
    await asyncio.gather(*clients)
    assert load.errors == []
    for order_id in load.done:
        assert [event.seq for event in await store.events(order_id)] == [1, 2]
    assert len(heard.events) == len(set(heard.events)) == 2 * len(load.done)


async def test_restarted_under_load(store: PostgresStore, server: PostgresServer) -> None:
    await under_load(store, server.restart, 2)


async def test_killed_under_load(store: PostgresStore, server: PostgresServer) -> None:
    def kill_and_start() -> None:
        server.kill()
        server.start()

    await under_load(store, kill_and_start, 3)


async def test_connections_cut_under_load(store: PostgresStore, dsn: str) -> None:
    def cut() -> None:
        async def terminate() -> None:
            connection = await asyncpg.connect(dsn)
            await connection.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await connection.close()

        asyncio.run(terminate())

    await under_load(store, cut, 20)


async def test_while_it_is_away_and_after(server: PostgresServer, dsn: str) -> None:
    store = PostgresStore(dsn, clock=SystemClock(), retry_for_s=0.05)
    await store.open()
    order = (await store.accept(*pending(1), keys())).order
    await asyncio.to_thread(server.stop)  # the store sees the end of its connections meanwhile
    try:
        for asked in (store.accept(*pending(2), keys()), store.order(order.id), store.ping()):
            with pytest.raises(StoreUnavailable, match="nothing was written"):
                await asked
    finally:
        server.start()
    assert await store.order(order.id) == order
    await store.ping()
    assert [each.id for each in await store.active(9)] == [order.id]
    await store.close()


async def test_it_waits_for_a_server_that_is_still_starting(server: PostgresServer, dsn: str) -> None:
    server.stop()
    store = PostgresStore(dsn, clock=SystemClock(), retry_for_s=LONG_S)
    opening = asyncio.create_task(store.open())
    await asyncio.to_thread(server.start)
    await opening
    await store.ping()
    await store.close()


async def test_a_server_that_is_not_there(dsn: str) -> None:
    store = PostgresStore(dsn.replace("host=", "host=/nowhere"), clock=SystemClock(), retry_for_s=0.0)
    with pytest.raises(StoreUnavailable):
        await store.open()


async def test_a_primary_that_was_demoted_is_left(store: PostgresStore, server: PostgresServer, dsn: str) -> None:
    """It takes no writes any more, as a standby does: the store waits for a server that does."""
    await store.ping()
    connection = await asyncpg.connect(dsn, server_settings={"default_transaction_read_only": "off"})
    try:
        await connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await connection.execute("SELECT pg_reload_conf()")
        async with asyncio.timeout(LONG_S):
            while not await refuses_writes(dsn):
                await asyncio.sleep(0.01)
        accepting = asyncio.ensure_future(store.accept(*pending(1), keys()))
        # It leaves the connection that it had, tries others, and stays with none.
        before = await connection.fetchval(SESSIONS)
        async with asyncio.timeout(LONG_S):
            while await connection.fetchval(SESSIONS) < before + 3:
                await asyncio.sleep(0.01)
        assert not accepting.done()
        assert await count(dsn, "open_orders") == 0
    finally:
        await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()
    assert (await accepting).created


async def test_waiting_for_a_lock_that_another_holds(store: PostgresStore, dsn: str) -> None:
    order = (await store.accept(*pending(1), keys())).order
    connection = await asyncpg.connect(dsn)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT FROM open_orders FOR UPDATE")
    claims = await store.claim("w", limit=1, now_ms=NOW_MS + 9, lease_ms=1, rate=None)
    assert claims.claims == []  # passed over
    life = Life(order)
    recording = asyncio.ensure_future(store.record(life.change(life.canceled())))
    async with asyncio.timeout(LONG_S):
        while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.001)
    # What the other one does meanwhile counts: the step is judged by what is there when the lock is.
    await connection.execute("UPDATE open_orders SET seq = seq + 1")
    await transaction.commit()
    with pytest.raises(StaleVersion):
        await recording
    await connection.close()
