"""A primary that dies under load, and a standby that takes over: nothing acknowledged is lost, or doubled."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import asyncpg
import pytest
from deploy.local.postgres import PostgresServer

from bestex.runtime import SystemClock
from bestex.store.postgres import PostgresStore
from tests.support.postgres import SETTINGS
from tests.unit.store.test_postgres_outages import LONG_S, Heard, Load


@contextmanager
def two_servers() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary, and a standby that has to confirm every commit."""
    with (
        TemporaryDirectory(prefix="bestex-pg-", dir="/tmp") as one,
        TemporaryDirectory(prefix="bestex-pg-", dir="/tmp") as two,
    ):
        primary = PostgresServer(Path(one), settings=SETTINGS)
        primary.start()
        try:
            standby = PostgresServer(Path(two), settings=SETTINGS, copy_of=primary)
            standby.start()
            try:
                yield primary, standby
            finally:
                standby.stop()
        finally:
            primary.stop()


@pytest.fixture
def servers() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    with two_servers() as both:
        yield both


async def confirm_by_standby(primary: PostgresServer) -> None:
    """From now on, what is committed is on the standby."""
    connection = await asyncpg.connect(primary.dsn("postgres"))
    await connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    await connection.execute("SELECT pg_reload_conf()")
    async with asyncio.timeout(LONG_S):
        while await connection.fetchval("SELECT sync_state FROM pg_stat_replication") != "sync":
            await asyncio.sleep(0.01)
    await connection.close()


async def has_database(standby: PostgresServer, name: str) -> None:
    """What was committed is there, but may be still to be replayed."""
    async with asyncio.timeout(LONG_S):
        while True:
            try:
                connection = await asyncpg.connect(standby.dsn(name))
            except asyncpg.InvalidCatalogNameError:
                await asyncio.sleep(0.01)
            else:
                await connection.close()
                return


async def test_failing_over_under_load(servers: tuple[PostgresServer, PostgresServer]) -> None:
    primary, standby = servers
    dsn = await primary.create_database()
    await confirm_by_standby(primary)
    await has_database(standby, urlsplit(dsn).path.strip("/"))
    both = f"{dsn},{standby.socket.parent}"
    store = PostgresStore(both, clock=SystemClock(), retry_for_s=2 * LONG_S)
    await store.open()
    heard, load = Heard(), Load(store)
    store.on_commit(heard)
    clients = [asyncio.create_task(load.client()) for _ in range(20)]
    await load.reach(200)
    await asyncio.to_thread(primary.kill)
    before = len(load.done)
    await asyncio.to_thread(standby.promote)
    await load.reach(200)
    load.stop()
    await asyncio.gather(*clients)
    assert load.errors == []
    assert before >= 200
    for order_id in load.done:
        assert [event.seq for event in await store.events(order_id)] == [1, 2]
    assert len(heard.events) == len(set(heard.events)) == 2 * len(load.done)
    connection = await asyncpg.connect(standby.dsn(urlsplit(dsn).path.strip("/")))
    assert await connection.fetchval("SELECT count(*) FROM ended_orders") == len(load.done)
    assert await connection.fetchval("SELECT count(*) FROM open_orders") == 0
    await connection.close()
    await store.close()
