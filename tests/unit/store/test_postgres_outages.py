"""A PostgreSQL server that goes away, in every way that we can make it: nothing acknowledged is lost, or doubled."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import asyncpg
import pytest
from deploy.local.postgres import PostgresServer

from bestex.errors import StoreUnavailable
from bestex.ports import Committed
from bestex.runtime import SystemClock
from bestex.store.postgres import PostgresStore
from bestex.types import OrderId
from tests.support.orders import NOW_MS, Life, keys, pending
from tests.support.postgres import running_server

LONG_S = 30.0
"""More than any restart takes."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_server() as running:
        yield running


@pytest.fixture
async def dsn(server: PostgresServer) -> str:
    return await server.create_database()


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[PostgresStore]:
    opened = PostgresStore(dsn, clock=SystemClock(), retry_for_s=LONG_S)
    await opened.open()
    yield opened
    await opened.close()


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


@pytest.mark.parametrize("committed", [True, False])
async def test_a_commit_whose_answer_was_lost(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """The connection ends at the moment of the commit: after it, or before it."""
    real = asyncpg.transaction.Transaction.commit
    lost = 0

    async def commit(self: asyncpg.transaction.Transaction) -> None:
        nonlocal lost
        if lost:
            return await real(self)
        lost += 1
        if committed:
            await real(self)
        raise ConnectionResetError("the answer was lost")

    heard = Heard()
    store.on_commit(heard)
    monkeypatch.setattr(asyncpg.transaction.Transaction, "commit", commit)
    order, event = pending(1)
    answer = await store.accept(order, event, keys(client_order_id="k"))
    assert lost == 1
    assert (answer.created, answer.order) == (True, order)
    assert heard.events == [(order.id, 1)]
    assert len(await store.events(order.id)) == 1


async def test_an_outcome_that_stays_unknown_is_called_so(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = PostgresStore(dsn, clock=SystemClock(), retry_for_s=0.0)
    await store.open()

    async def commit(self: asyncpg.transaction.Transaction) -> None:
        raise ConnectionResetError("the answer was lost")

    with monkeypatch.context() as patched:
        patched.setattr(asyncpg.transaction.Transaction, "commit", commit)
        with pytest.raises(StoreUnavailable, match="unknown") as caught:
            await store.accept(*pending(1), keys())
    assert caught.value.context["outcome_unknown"] is True
    await store.accept(*pending(2), keys())
    await store.close()


async def test_while_it_is_away_and_after(server: PostgresServer, dsn: str) -> None:
    store = PostgresStore(dsn, clock=SystemClock(), retry_for_s=0.05)
    await store.open()
    order = (await store.accept(*pending(1), keys())).order
    server.stop()
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


async def test_a_full_disk_is_reported_at_once(store: PostgresStore, dsn: str) -> None:
    """A trigger says what the server says when a table cannot grow: a disk of its own takes root."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;"
        "CREATE TRIGGER full_disk BEFORE INSERT ON order_events FOR EACH ROW EXECUTE FUNCTION full_disk()"
    )
    with pytest.raises(StoreUnavailable, match="could not extend"):
        await store.accept(*pending(1), keys(client_order_id="k"))
    await connection.execute("DROP TRIGGER full_disk ON order_events")
    await connection.close()
    assert (await store.accept(*pending(1), keys(client_order_id="k"))).created


async def test_a_primary_that_was_demoted_is_left(store: PostgresStore, dsn: str) -> None:
    """Writes are refused as on a standby; once they are taken again, nothing is lost."""
    connection = await asyncpg.connect(dsn)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    accepting = asyncio.create_task(store.accept(*pending(1), keys()))
    async with asyncio.timeout(LONG_S):
        while not await connection.fetchval("SELECT 1 FROM pg_stat_database WHERE datname = $1", name):
            await asyncio.sleep(0)
    assert not accepting.done()
    await connection.execute("SET default_transaction_read_only = off")
    await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
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
    await transaction.rollback()
    await recording
    await connection.close()
