"""Batches of operations, each written in one PostgreSQL transaction, across lost connections and restarts.

A batch is one statement, as long as all is stored as its operations say. A connection that is lost meanwhile leaves in
doubt whether it took place: the number of the batch, which it writes as well, tells.
"""

import logging
from collections.abc import Sequence
from typing import Any

import asyncpg

from bestex.errors import Conflict, StoreUnavailable
from bestex.ports import Committed
from bestex.store import statements
from bestex.store.commit import Operation
from bestex.store.operations import Claim
from bestex.store.pg_batch import Batch, Unexpected
from bestex.store.pg_calls import is_unexpected
from bestex.store.pg_database import Line, Outage, is_transient, is_unavailable, keeps_connection, unavailable
from bestex.store.pg_upkeep import Upkeep

_log = logging.getLogger(__name__)
_sql = statements.load("postgres/write")


class _InDoubt(Exception):
    """The connection was lost during a commit: it may have taken place."""

    def __init__(self, batch: Batch, *, answered: bool) -> None:
        """`answered`: whether each operation has its answer."""
        self.batch = batch
        self.answered = answered


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
                if doubt is not None and await connection.fetchval(_sql["settle"], self._id, self._number):
                    if not doubt.answered:
                        await doubt.batch.find(connection)
                    self._outage.over()
                    return doubt.batch.events
                if doubt is not None:
                    doubt, self._number = None, self._number + 1  # the number that settling has written
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
        self._number += 1
        batch = Batch(connection, self._id, self._number, operations)
        try:
            batch.expect()
            return await self._at_once(batch)
        except Exception as error:
            if not isinstance(error, Unexpected) and not is_unexpected(error):
                raise
        return await self._with_a_look(connection, Batch(connection, self._id, self._number, operations))

    async def _at_once(self, batch: Batch) -> list[Committed]:
        """In one statement, which is a transaction by itself."""
        try:
            await batch.write()
        except Exception as error:
            if keeps_connection(error):  # the server has said that it rolled back
                raise
            self._line.drop()
            raise _InDoubt(batch, answered=False) from error
        except BaseException:
            self._line.drop()
            raise
        return batch.events

    async def _with_a_look(self, connection: asyncpg.Connection, batch: Batch) -> list[Committed]:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await batch.look()
            wrote = await batch.write()
        except asyncpg.PostgresError:
            if not connection.is_closed():
                await transaction.rollback()
            raise
        except BaseException:
            self._line.drop()  # what it was about to say is unknown: the server rolls back
            raise
        if not wrote:
            await transaction.rollback()
            return batch.events
        try:
            await transaction.commit()
        except Exception as error:
            self._line.drop()
            raise _InDoubt(batch, answered=True) from error
        return batch.events

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
