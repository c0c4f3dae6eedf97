"""The stores that benchmarks measure: SQLite in a file, PostgreSQL on a server of one's own, both with fsync."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import apsw
from deploy.local.postgres import PostgresServer

from bestex.store.postgres import PostgresStore
from bestex.store.sqlite import SqliteStore

STORES = ("sqlite", "postgres")
AnyStore: TypeAlias = SqliteStore | PostgresStore
OnBatch: TypeAlias = Callable[[int, float], None]

_SERVER = {"shared_buffers": "1GB", "max_wal_size": "4GB"}


class Clock:
    """The real one."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.perf_counter()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def opened(name: str, folder: Path, on_batch: OnBatch | None = None) -> AsyncIterator[AnyStore]:
    """A new store of that kind, with all of its data in the folder."""
    if name == "sqlite":
        sqlite = SqliteStore(folder / "bench.db", clock=Clock(), on_batch=on_batch)
        await sqlite.open()
        try:
            yield sqlite
        finally:
            await sqlite.close()
        return
    async with server(folder) as dsn:
        postgres = PostgresStore(dsn, clock=Clock(), on_batch=on_batch)
        await postgres.open()
        try:
            yield postgres
        finally:
            await postgres.close()


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[str]:
    """The DSN of an empty database."""
    running = await asyncio.to_thread(PostgresServer, folder, settings=_SERVER)
    await asyncio.to_thread(running.start)
    try:
        yield await running.create_database()
    finally:
        await asyncio.to_thread(running.stop)


def described(name: str) -> str:
    """What was measured, in a line."""
    if name == "sqlite":
        return f"SQLite {apsw.sqlite_lib_version()}, WAL, synchronous=FULL (fsync at every commit)"
    return "PostgreSQL, fsync=on, synchronous_commit=on, on this machine, over a unix socket"


def size_bytes(folder: Path) -> int:
    """Of all files there."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def server_cpu_s(folder: Path) -> float:
    """CPU that the server with its data there has used so far, in all of its processes; 0 when there is none."""
    try:
        postmaster = (folder / "data" / "postmaster.pid").read_text(encoding="utf-8").split()[0]
    except FileNotFoundError:
        return 0.0
    processes = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text(encoding="ascii").split()
    running_ns = sum(int(Path(f"/proc/{each}/schedstat").read_text(encoding="ascii").split()[0]) for each in processes)
    return running_ns / 1e9
