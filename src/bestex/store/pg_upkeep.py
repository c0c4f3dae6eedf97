"""What has to be done now and then: partitions for the months to come, an end to what is kept no longer."""

import logging

import asyncpg

from bestex.ports import Clock
from bestex.store import statements
from bestex.store.pg_database import Line
from bestex.store.pg_migrate import MONTHS_AHEAD
from bestex.store.starts import KEEP_MS

_log = logging.getLogger(__name__)
_sql = {**statements.load("postgres/lease"), **statements.load("postgres/upkeep")}
_UPKEEP_MS = 6 * 3_600_000
_PRUNE_MS = 60_000
_DAY_MS = 86_400_000
_MOST = 1000
"""Orders of the history that are removed at a time."""


class Upkeep:
    """Between batches, on the connection that writes. What fails is tried again the next time."""

    def __init__(self, clock: Clock, retain_days: int | None) -> None:
        """`retain_days`: how long an order that has ended is kept after it was placed, at least; None: for ever."""
        self._clock = clock
        self._retain_ms = None if retain_days is None else retain_days * _DAY_MS
        self._kept_up_ms = self._pruned_ms = clock.now_ms()
        self._keep_starts_ms = KEEP_MS
        self._removing = retain_days is not None

    def keep_starts_for(self, window_ms: int) -> None:
        """A rate limit looks back so far."""
        self._keep_starts_ms = max(self._keep_starts_ms, window_ms)

    async def keep_up(self, line: Line) -> None:
        """Do what is due."""
        now_ms = self._clock.now_ms()
        try:
            if now_ms - self._pruned_ms >= _PRUNE_MS:
                self._pruned_ms = now_ms
                await (await line.connected()).execute(_sql["prune_starts"], now_ms - self._keep_starts_ms)
            if now_ms - self._kept_up_ms >= _UPKEEP_MS:
                self._kept_up_ms = now_ms
                self._removing = self._retain_ms is not None
                await (await line.connected()).execute(_sql["create_partitions"], now_ms, MONTHS_AHEAD)
            if self._removing and self._retain_ms is not None:
                self._removing = await self._remove(await line.connected(), now_ms - self._retain_ms)
        except Exception as error:  # noqa: BLE001 - the batch is written; upkeep comes again
            line.after(error)
            _log.warning("the upkeep of the database failed: %s", error)

    async def _remove(self, connection: asyncpg.Connection, before_ms: int) -> bool:
        """A bounded part of what was placed before that time and has ended; whether there is more of it."""
        async with connection.transaction():
            removed: int = await connection.fetchval(_sql["remove_ended"], before_ms, _MOST)
            if removed < _MOST:
                for row in await connection.fetch(_sql["drop_partitions"], before_ms):
                    _log.info("the events of %s are kept no longer", row["dropped"])
        return removed >= _MOST
