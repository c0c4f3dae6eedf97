"""The SQLite store against the contract of all stores: with threads, and with everything in one thread."""

from collections.abc import AsyncIterator
from concurrent.futures import Executor
from pathlib import Path

import pytest

from bestex.ports import Store
from bestex.store.commit import InlineExecutor
from bestex.store.sqlite import SqliteStore
from tests.contract.store_contract import StoreContract
from tests.contract.store_contract import store as store  # noqa: PLC0414 - a fixture
from tests.support.clock import VirtualClock


class SqliteHarness:
    """A database in a folder of its own."""

    def __init__(self, folder: Path, executor: Executor | None) -> None:
        self._folder = folder
        self._executor = executor
        self._opened = self._make()

    @property
    def store(self) -> Store:
        return self._opened

    async def reopen(self) -> None:
        await self._opened.close()
        self._opened = self._make()
        await self._opened.open()

    def _make(self) -> SqliteStore:
        return SqliteStore(
            self._folder / "orders.db",
            clock=VirtualClock(),
            write_executor=self._executor,
            read_executor=self._executor,
        )


class TestSqliteStore(StoreContract):
    """One thread that writes, and one that reads."""

    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[SqliteHarness]:
        harness = SqliteHarness(tmp_path, None)
        await harness.store.open()
        yield harness
        await harness.store.close()


class TestSqliteStoreInline(StoreContract):
    """Everything at once and in the event loop's thread, as in a simulation."""

    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[SqliteHarness]:
        harness = SqliteHarness(tmp_path, InlineExecutor())
        await harness.store.open()
        yield harness
        await harness.store.close()
