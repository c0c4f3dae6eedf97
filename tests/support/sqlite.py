"""SQLite stores for tests, and SQLite disks that fail."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw

from bestex.store.sqlite import SqliteStore
from tests.support.clock import VirtualClock


def make_store(folder: Path, *, vfs: str | None = None) -> SqliteStore:
    return SqliteStore(folder / "orders.db", clock=VirtualClock(), vfs=vfs)


@asynccontextmanager
async def opened(folder: Path, *, vfs: str | None = None) -> AsyncIterator[SqliteStore]:
    store = make_store(folder, vfs=vfs)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def writing_connection(store: SqliteStore) -> apsw.Connection:
    """The connection that writes: to look at its settings, or to set limits."""
    assert store._session is not None
    return store._session.writer._connection


class FailingDisk(apsw.VFS):
    """A file system whose disk can be told to fail; `name` is what SQLite knows it by."""

    name = "failing-disk"

    def __init__(self) -> None:
        super().__init__(self.name, base="")
        self.sync_error: type[apsw.Error] | None = None
        self.write_error: type[apsw.Error] | None = None
        self.failures = 0

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> "FailingFile":  # noqa: N802
        return FailingFile(self, name, flags)


class FailingFile(apsw.VFSFile):
    def __init__(self, disk: FailingDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._fail(self._disk.sync_error)
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._fail(self._disk.write_error)
        super().xWrite(data, offset)

    def _fail(self, error: type[apsw.Error] | None) -> None:
        if error is not None:
            self._disk.failures += 1
            raise error("the test says so")
