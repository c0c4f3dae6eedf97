"""What is open while a PostgreSQL store is open: a connection that writes, and a few that read."""

import logging
from collections.abc import Callable
from typing import Any

import asyncpg

from bestex.errors import StoreUnavailable
from bestex.ports import Clock, Committed
from bestex.store import statements
from bestex.store.commit import Batcher, Operation, on_loop
from bestex.store.pg_database import Line, Outage, check_version, create_pool, patiently
from bestex.store.pg_events import EventReader
from bestex.store.pg_migrate import known_migrations, migrate
from bestex.store.pg_upkeep import Upkeep
from bestex.store.pg_writer import Writer

_log = logging.getLogger(__name__)
_sql = {**statements.load("postgres/upkeep"), **statements.load("postgres/lease")}
_MOST = 2000
"""Operations in one batch."""


class Session:
    """From `open` to `close`."""

    writes: Batcher[list[Committed]]
    events: EventReader

    def __init__(self, dsn: str, clock: Clock, retry_for_s: float, answer_s: float, retain_days: int | None) -> None:
        self._dsn = dsn
        self._answer_s = answer_s
        self._clock = clock
        self._line = Line(dsn, answer_s)
        self._outage = Outage(clock, retry_for_s)
        self._upkeep = Upkeep(clock, retain_days)
        self._pool: asyncpg.Pool | None = None

    async def open(self, readers: int, on_done: Callable[[list[Operation[Any]], list[Committed], float], None]) -> None:
        """Raises StoreUnavailable and ConfigError; nothing is left open then."""
        try:
            writer_id = await patiently(self._outage, self._prepare)
            self._pool = await patiently(self._outage, lambda: create_pool(self._dsn, readers, self._answer_s))
        except BaseException:
            self._line.drop()
            raise
        self._writer = Writer(self._line, self._outage, self._upkeep, writer_id)
        self.writes = Batcher(on_loop(self._writer.run, self._clock.monotonic_s), most=_MOST, on_done=on_done)
        self.events = EventReader(self.read, self._clock.monotonic_s)

    async def close(self) -> None:
        """Finish what was asked for. Our workers' leases end, if the server can be reached."""
        await self.writes.close()
        if self._writer.workers:
            try:
                await patiently(self._outage, self._release)
            except StoreUnavailable as error:
                _log.warning("the leases of this process are left to end by themselves: %s", error)
        await self._line.close()
        self.events.abandon()
        if self._pool is not None:
            self._pool.terminate()

    def abandon(self) -> None:
        """Leave everything as it is, at once."""
        self.writes.abandon()
        self.events.abandon()
        self._line.drop()
        if self._pool is not None:
            self._pool.terminate()

    async def read(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Raises StoreUnavailable."""
        pool = self._pool
        assert pool is not None

        async def fetch() -> list[asyncpg.Record]:
            return await pool.fetch(sql, *arguments)

        return await patiently(self._outage, fetch)

    async def _prepare(self) -> object:
        """Bring the schema up to date; the id under which this store writes."""
        connection = await self._line.connected()
        try:
            await check_version(connection)
            await migrate(connection, known_migrations(), now_ms=self._clock.now_ms())
            async with connection.transaction():
                await connection.execute(_sql["forget_writers"])
                await connection.execute(_sql["fold_counts"])
                return await connection.fetchval(_sql["new_writer"])
        except Exception as error:
            self._line.after(error)
            raise

    async def _release(self) -> None:
        try:
            connection = await self._line.connected()
            await connection.execute(_sql["release_workers"], list(self._writer.workers))
        except Exception as error:
            self._line.after(error)
            raise
