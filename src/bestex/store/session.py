"""What a store has while it is open: the lock, two connections with an executor each, and their queues."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

import apsw

from bestex.errors import StoreUnavailable
from bestex.ports import Committed
from bestex.store.commit import Batcher, Operation, on_executor
from bestex.store.database import connect_reader, connect_writer, reachable, settle
from bestex.store.lock import ProcessLock
from bestex.store.migrate import known_migrations, migrate
from bestex.store.reader import Reader
from bestex.store.writer import Writer

_MOST = 500
"""Operations in one batch: while they are written, the event loop makes the next ones ready."""

Returned = TypeVar("Returned")
Given = ParamSpec("Given")
OnWritten: TypeAlias = Callable[[list[Operation[Any]], list[Committed], float], None]


class Session:
    """An open database."""

    def __init__(self, path: Path, vfs: str | None, write_executor: Executor | None, read_executor: Executor | None):
        """Executors that are given are used and left open."""
        self._path = path
        self._vfs = vfs
        self._lock = ProcessLock(path)
        self._connections: list[apsw.Connection] = []
        self._threads: list[ThreadPoolExecutor] = []
        self._writing = write_executor or self._thread("write")
        self._reading = read_executor or self._thread("read")
        self._batchers: list[Batcher[Any]] = []
        self.writer: Writer
        self.reader: Reader
        self.writes: Batcher[list[Committed]]
        self.reads: Batcher[None]

    async def open(self, monotonic_s: Callable[[], float], on_written: OnWritten) -> None:
        """Raises StoreUnavailable, and ConfigError for a database of another version; nothing is left open then."""
        try:
            self._make_folder()
            self._lock.acquire()
            self.writer = await self.run_in_writer(self._open_writer)
            self.reader = await self.run_in_reader(self._open_reader)
        except BaseException:
            self._drop()
            raise
        write = on_executor(self.writer.run, self._writing, monotonic_s)
        self.writes = Batcher(write, most=_MOST, on_done=on_written)
        read = on_executor(self.reader.run, self._reading, monotonic_s)
        self.reads = Batcher(read, most=_MOST, on_done=_ignore)
        self._batchers += [self.writes, self.reads]

    async def close(self) -> None:
        """Finish what was asked for, and let go of the database."""
        await self.writes.close()
        await self.reads.close()
        await self._release()

    def abandon(self) -> None:
        """Let go of the database as a killed process does: nobody is answered, nothing is tidied up.

        Whatever has been opened so far, if it was not opened to the end.
        """
        for batcher in self._batchers:
            batcher.abandon()
        self._drop()

    async def run_in_writer(
        self, function: Callable[Given, Returned], *args: Given.args, **kwargs: Given.kwargs
    ) -> Returned:
        """Call the function between two batches of writes."""
        return await _run(self._writing, function, *args, **kwargs)

    async def run_in_reader(
        self, function: Callable[Given, Returned], *args: Given.args, **kwargs: Given.kwargs
    ) -> Returned:
        """Call the function between two batches of reads."""
        return await _run(self._reading, function, *args, **kwargs)

    def _thread(self, name: str) -> ThreadPoolExecutor:
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"bestex-store-{name}")
        self._threads.append(thread)
        return thread

    def _make_folder(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"cannot make {self._path.parent}: {error.strerror}") from error

    def _open_writer(self) -> Writer:
        connection = connect_writer(self._path, self._vfs)
        self._connections.append(connection)
        with reachable():
            migrate(connection, known_migrations())
            settle(connection)
            return Writer(connection)

    def _open_reader(self) -> Reader:
        connection = connect_reader(self._path, self._vfs)
        self._connections.append(connection)
        return Reader(connection)

    async def _release(self) -> None:
        try:
            # The writer last: whoever closes last empties the log into the database.
            while self._connections:
                await self.run_in_writer(self._connections[-1].close)
                self._connections.pop()
        finally:
            self._drop()

    def _drop(self) -> None:
        """Close what is still open, as it is."""
        for thread in self._threads:
            thread.shutdown(cancel_futures=True)
        for connection in self._connections:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.close(force=True)
        self._connections.clear()
        self._lock.release()


async def _run(
    executor: Executor, function: Callable[Given, Returned], *args: Given.args, **kwargs: Given.kwargs
) -> Returned:
    return await asyncio.wrap_future(executor.submit(function, *args, **kwargs))


def _ignore(_batch: list[Operation[Any]], _news: None, _seconds: float) -> None:
    """Nobody needs to hear about reads."""
