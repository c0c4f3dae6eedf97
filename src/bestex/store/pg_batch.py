"""One batch of operations: first as if all were as its operations say, then, if it is not, judged by what is stored."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from bestex.errors import BestexError, StoreUnavailable
from bestex.orders.attempt import Attempt, AttemptState
from bestex.orders.order import Order
from bestex.ports import Acceptance, Committed
from bestex.store import pg_rows, statements
from bestex.store.commit import Operation
from bestex.store.lanes import Entry
from bestex.store.operations import Accept, Record, Renew
from bestex.store.pg_calls import Calls
from bestex.store.pg_leases import Leases
from bestex.store.plan import Plan, UsedKey
from bestex.types import OrderId

_sql = {**statements.load("postgres/write"), **statements.load("postgres/read")}
_replace = pg_rows.replace


class Unexpected(Exception):
    """Something is not as the operations of the batch say."""


class Batch:
    """Answers each operation. Nothing of it counts before it is committed."""

    def __init__(self, connection: asyncpg.Connection, writer: object, number: int, operations: Sequence[Any]) -> None:
        """`writer`, `number`: what this batch is known by."""
        self._connection = connection
        self._writer = writer
        self._calls = Calls(writer, number)
        self._accepts = [each for each in operations if isinstance(each, Accept)]
        self._records = [each for each in operations if isinstance(each, Record)]
        self._renewals = [each for each in operations if isinstance(each, Renew)]
        self._leases = Leases(operations)
        self.events: list[Committed] = []
        """Those that are on disk after the commit."""
        _forget_answers(operations)

    def expect(self) -> None:
        """Take what the operations say for what is stored, and prepare to write.

        Raises Unexpected when they do not fit together.
        """
        plan = Plan(_expected(self._records), [], 0)
        accepted, refused = _judge(plan, self._accepts, self._records)
        if refused:
            raise Unexpected
        for accept, found in accepted:
            accept.answer = Acceptance(accept.order if found is None else plan.new[found].order, created=found is None)
        self._prepare(plan)

    async def look(self) -> None:
        """Judge the operations by what is stored, lock that, and prepare to write. Inside a transaction."""
        used_keys = await self._used_keys()
        plan = Plan(await self._open_orders(), used_keys, 0)
        accepted, _ = _judge(plan, self._accepts, self._records)
        await self._answer(plan, accepted)
        self._prepare(plan)

    async def write(self) -> bool:
        """Do what was prepared. Whether there was anything."""
        if not self._calls:
            return False
        self._leases.answer(await self._calls.make(self._connection))
        return True

    async def find(self, connection: asyncpg.Connection) -> None:
        """Tell each claim what it has got: the batch was committed, and its answer was lost."""
        await self._leases.find(connection, self._writer)

    def _prepare(self, plan: Plan) -> None:
        if plan:
            self._calls.write(plan)
        self._leases.call(self._calls)
        self.events = [event for _, events in plan.events for event in events]

    async def _used_keys(self) -> list[UsedKey]:
        wanted = [(accept.keys.account, kind, key) for accept in self._accepts for kind, key in accept.kinds]
        if not wanted:
            return []
        columns = [list(column) for column in zip(*wanted, strict=True)]
        return [pg_rows.used_key(row) for row in await self._fetch("known_keys", *columns)]

    async def _open_orders(self) -> dict[OrderId, Entry]:
        """Those of the orders that are open, locked until the commit."""
        changes = {each.change.order.id: each.change.order for each in self._records}
        ids = set(changes)
        ids.update(order_id for each in self._renewals for order_id in each.order_ids)
        if not ids:
            return {}
        rows = await self._fetch("lock_orders", list(ids))
        attempts = await self._attempts()
        places = [pg_rows.place(row, changes[row["id"]]) for row in rows if row["id"] in changes]
        return {order.id: Entry(0, order, attempts.get(order.id, {})) for order in places}

    async def _attempts(self) -> dict[OrderId, dict[int, Attempt]]:
        """Those of orders whose attempts change. Asked for after the locks: it sees what they waited for."""
        changes = {each.change.order.id: each.change.attempt for each in self._records if each.change.attempt}
        attempts: dict[OrderId, dict[int, Attempt]] = {}
        if changes:
            for row in await self._fetch("attempts_of", list(changes)):
                attempt = pg_rows.attempt_place(row, changes[row["order_id"]])
                attempts.setdefault(attempt.order_id, {})[attempt.number] = attempt
        return attempts

    async def _answer(self, plan: Plan, accepted: Sequence[tuple[Accept, OrderId | None]]) -> None:
        repeated = {found for _, found in accepted if found is not None}
        stored: dict[OrderId, Order] = {found: plan.new[found].order for found in repeated if found in plan.new}
        if repeated:
            for row in await self._fetch("orders", list(repeated)):
                order = pg_rows.order(row)
                stored[order.id] = order
        for accept, found in accepted:
            if found is None:
                accept.answer = Acceptance(accept.order, created=True)
            elif found in stored:
                accept.answer = Acceptance(stored[found], created=False)
            else:
                accept.answer = StoreUnavailable("the order of this key was removed a moment ago; nothing was written")

    async def _fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        return await self._connection.fetch(_sql[name], *arguments)


def _expected(records: Sequence[Record]) -> dict[OrderId, Entry]:
    """What must be stored for each order before the first of its records. An attempt that is not prepared is."""
    expected: dict[OrderId, Entry] = {}
    attempts: dict[OrderId, dict[int, Attempt]] = {}
    seen: set[tuple[OrderId, int]] = set()
    for record in records:
        order, attempt = record.change.order, record.change.attempt
        if order.id not in expected:
            attempts[order.id] = {}
            before = _replace(order, seq=order.seq - len(record.events)) if record.events else order
            expected[order.id] = Entry(0, before, attempts[order.id])
        if attempt is not None and (order.id, attempt.number) not in seen:
            seen.add((order.id, attempt.number))
            if attempt.state is not AttemptState.PREPARED:
                attempts[order.id][attempt.number] = attempt
    return expected


def _judge(
    plan: Plan, accepts: Sequence[Accept], records: Sequence[Record]
) -> tuple[list[tuple[Accept, OrderId | None]], bool]:
    """Let the plan take what it allows, and answer what it does not.

    The acceptances that it took, with the older orders that answer them, and whether it refused anything.
    """
    accepted: list[tuple[Accept, OrderId | None]] = []
    refused = False
    for accept in accepts:
        try:
            accepted.append((accept, plan.accept(accept)))
        except BestexError as error:
            accept.answer = error
            refused = True
    for record in records:
        try:
            plan.record(record)
        except BestexError as error:
            record.answer = error
            refused = True
    return accepted, refused


def _forget_answers(operations: Sequence[Operation[Any]]) -> None:
    for operation in operations:
        operation.answer = None
