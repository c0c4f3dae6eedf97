"""The PostgreSQL store against the contract of all stores, on a real server."""

from collections.abc import AsyncIterator, Iterator

import pytest
from deploy.local.postgres import PostgresServer

from bestex.ports import Store
from bestex.runtime import SystemClock
from bestex.store.postgres import PostgresStore
from tests.contract.store_contract import StoreContract
from tests.contract.store_contract import store as store  # noqa: PLC0414 - a fixture
from tests.support.postgres import empty_database, running_server


class PostgresHarness:
    """An empty database."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._opened = self._make()

    @property
    def store(self) -> Store:
        return self._opened

    async def reopen(self) -> None:
        await self._opened.close()
        self._opened = self._make()
        await self._opened.open()

    def _make(self) -> PostgresStore:
        return PostgresStore(self._dsn, clock=SystemClock())


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_server() as running:
        yield running


class TestPostgresStore(StoreContract):
    @pytest.fixture
    async def harness(self, server: PostgresServer) -> AsyncIterator[PostgresHarness]:
        harness = PostgresHarness(await empty_database(server, migrated=True))
        await harness.store.open()
        yield harness
        await harness.store.close()
