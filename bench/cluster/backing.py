"""What stands behind every server under test: one PostgreSQL with fsync, a new database and a new Redis for each."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import asyncpg
from deploy.local.guard import Guard
from deploy.local.ports import HOST, free_ports
from deploy.local.postgres import PostgresServer
from deploy.local.process import Process
from deploy.local.redis import RedisProcess

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "max_connections": "100",
}


@dataclass
class Backing:
    """A database and a Redis, both empty, both on ports of loopback."""

    dsn: str
    redis_port: int
    processes: dict[str, int]
    """Process ids by name."""


class Servers:
    """The PostgreSQL server of all runs, and whatever is started beside it. All of it ends when we do."""

    def __init__(self, folder: Path, guard: Guard) -> None:
        """`folder`: for data and logs, and open to all, because PostgreSQL does not run as root."""
        self.folder = folder
        self._guard = guard
        self._numbers = count(1)
        self._port = free_ports(1)
        (folder / "postgres").mkdir()
        settings = {"unix_socket_directories": "", **SETTINGS}
        self._postgres = PostgresServer(folder / "postgres", port=self._port, settings=settings)

    def start(self) -> None:
        """PostgreSQL alone."""
        self._postgres.start()
        self._guard.watch(self._pid)

    def stop(self) -> None:
        """PostgreSQL alone."""
        pid = self._pid
        self._postgres.stop()
        self._guard.forget(pid)

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Backing]:
        """For one server under test."""
        name, port = f"run_{next(self._numbers)}", free_ports(1)
        connection = await asyncpg.connect(self._dsn("postgres"))
        try:
            await connection.execute(f"CREATE DATABASE {name}")
            await connection.execute("CHECKPOINT")  # the writes of the run before are not paid by this one
        finally:
            await connection.close()
        async with _running(RedisProcess(self.folder, port=port, guard=self._guard)) as redis:
            yield Backing(self._dsn(name), port, {"postgres": self._pid, "redis": redis})

    @asynccontextmanager
    async def process(
        self, name: str, command: Sequence[str], ready: str, environment: Mapping[str, str]
    ) -> AsyncIterator[int]:
        """A process that has said that it is ready; its id."""
        log = self.folder / f"{name}.log"
        async with _running(
            Process(name, command, log=log, ready=ready, guard=self._guard, environment=environment)
        ) as pid:
            yield pid

    def _dsn(self, database: str) -> str:
        return f"postgresql://bestex@{HOST}:{self._port}/{database}"

    @property
    def _pid(self) -> int:
        pid = self._postgres.pid
        assert pid is not None
        return pid


@contextlib.asynccontextmanager
async def _running(process: Process) -> AsyncIterator[int]:
    await process.start()
    assert process.pid is not None
    try:
        yield process.pid
    finally:
        await process.terminate()
