"""Batches of operations, each written in one PostgreSQL transaction, across lost connections and restarts."""

import logging
from collections.abc import Sequence
from typing import Any

import asyncpg

from bestex.errors import Conflict, StoreUnavailable
from bestex.ports import Committed
from bestex.store import statements
from bestex.store.commit import Operation
from bestex.store.operations import Claim
from bestex.store.pg_batch import Batch
from bestex.store.pg_database import Line, Outage, is_transient, is_unavailable, unavailable
from bestex.store.pg_upkeep import Upkeep

_log = logging.getLogger(__name__)
_sql = statements.load("postgres/write")


class _InDoubt(Exception):
    """The connection was lost during a commit: it may have taken place."""

    def __init__(self, events: list[Committed]) -> None:
        self.events = events


class Writer:
    """Owns the connection that writes."""

    def __init__(self, line: Line, outage: Outage, upkeep: Upkeep, writer_id: object) -> None:
        """`writer_id`: this store's row in `writers`."""
        self._line = line
        self._outage = outage
        self._id = writer_id
        self._number = 0
        self._upkeep = upkeep
        self.workers: set[str] = set()
        """Those that have claimed."""

    async def run(self, operations: list[Operation[Any]]) -> list[Committed]:
        """Do what is allowed, answer all, and return the events that are on disk now.

        What is refused, or is not what it should be, fails alone; when nothing can be written, everything fails.
        """
        self._note(operations)
        events = await self._run(operations)
        await self._upkeep.keep_up(self._line)
        return events

    async def _run(self, operations: list[Operation[Any]]) -> list[Committed]:
        try:
            return await self._commit(operations)
        except StoreUnavailable as error:
            for operation in operations:  # to each an error of its own: its traceback is written into it
                operation.answer = StoreUnavailable(error.message, **error.context)
            return []
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            if len(operations) == 1:
                operations[0].answer = _explained(error)
                return []
            # One of them is not what the plan took it for: halve until it stands alone.
            half = len(operations) // 2
            return [*await self._run(operations[:half]), *await self._run(operations[half:])]

    async def _commit(self, operations: list[Operation[Any]]) -> list[Committed]:
        """Write until it is known to be written. If this raises, nothing is, or StoreUnavailable says so."""
        patience = self._outage.begin()
        doubt: _InDoubt | None = None
        while True:
            try:
                connection = await self._line.connected()
                if doubt is not None and await connection.fetchval(_sql["latest_batch"], self._id) == self._number:
                    return doubt.events
                doubt = None
                events = await self._transact(connection, operations)
            except _InDoubt as in_doubt:
                doubt = in_doubt
                await patience.wait(Exception(str(in_doubt.__cause__)), unknown=True)
            except Exception as error:
                self._line.after(error)
                if _raced(error):
                    self._outage.over()  # the server is well, and the next look finds the key
                    continue
                if is_unavailable(error):
                    raise unavailable(error, unknown=doubt is not None) from error
                if not is_transient(error):
                    raise
                await patience.wait(error, unknown=doubt is not None)
            else:
                self._outage.over()
                return events

    async def _transact(self, connection: asyncpg.Connection, operations: list[Operation[Any]]) -> list[Committed]:
        transaction = connection.transaction()
        await transaction.start()
        try:
            batch = Batch(connection, self._id, operations)
            events = await batch.run()
            if batch.wrote:
                self._number += 1
                await connection.execute(_sql["beat"], self._id, self._number)
        except asyncpg.PostgresError:
            if not connection.is_closed():
                await transaction.rollback()
            raise
        except BaseException:
            self._line.drop()  # what it was about to say is unknown: the server rolls back
            raise
        if not batch.wrote:
            await transaction.rollback()
            return events
        try:
            await transaction.commit()
        except Exception as error:
            self._line.drop()
            raise _InDoubt(events) from error
        return events

    def _note(self, operations: Sequence[Operation[Any]]) -> None:
        for operation in operations:
            worker = getattr(operation, "worker", None)
            if worker is not None:
                self.workers.add(worker)
            if isinstance(operation, Claim) and operation.rate is not None:
                self._upkeep.keep_starts_for(operation.rate.window_ms)


def _raced(error: Exception) -> bool:
    """Another process has used the same idempotency key at the same time: the next look finds it."""
    return isinstance(error, asyncpg.UniqueViolationError) and error.constraint_name == "idempotency_keys_once"


def _explained(error: Exception) -> Exception:
    """What unique indexes refuse is a conflict: an order's id, or a transaction, that is stored already."""
    if isinstance(error, asyncpg.UniqueViolationError):
        conflict = Conflict(f"it is stored already ({error})")
        conflict.__cause__ = error
        return conflict
    return error
