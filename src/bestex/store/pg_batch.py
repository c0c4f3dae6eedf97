"""One batch of operations inside one transaction: what is allowed is written, then leases are given."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import asyncpg

from bestex.errors import BestexError, StoreUnavailable
from bestex.orders.attempt import LIVE, Attempt
from bestex.orders.order import Order
from bestex.ports import Acceptance, Committed
from bestex.store import pg_rows, statements
from bestex.store.commit import Operation
from bestex.store.lanes import Entry
from bestex.store.operations import Accept, Claim, ClaimUnfinal, Ping, Record, Renew
from bestex.store.pg_leases import Leases
from bestex.store.plan import Plan, Step, UsedKey
from bestex.types import OrderId

_sql = {**statements.load("postgres/write"), **statements.load("postgres/read")}


class Batch:
    """Answers each operation. Nothing of it counts before the transaction is committed."""

    def __init__(self, connection: asyncpg.Connection, writer: object, operations: Sequence[Operation[Any]]) -> None:
        """`writer`: the id under which ended orders are counted."""
        self._connection = connection
        self._writer = writer
        self._operations = operations
        self.wrote = any(isinstance(each, Ping) for each in operations)
        """Whether there is anything to commit."""

    async def run(self) -> list[Committed]:
        """The events that are on disk after the commit. If this raises, the transaction must be rolled back."""
        for operation in self._operations:
            operation.answer = None
        accepts = [each for each in self._operations if isinstance(each, Accept)]
        records = [each for each in self._operations if isinstance(each, Record)]
        renewals = [each for each in self._operations if isinstance(each, Renew)]
        used_keys = await self._used_keys(accepts)
        plan = Plan(await self._open_orders(records, renewals), used_keys, 0)
        accepted = _judge(plan, accepts, records)
        await self._write(plan)
        await self._answer(accepted)
        await self._lease()
        return [event for _, events in plan.events for event in events]

    async def _used_keys(self, accepts: Sequence[Accept]) -> list[UsedKey]:
        wanted = [(accept.keys.account, kind, key) for accept in accepts for kind, key in accept.kinds]
        if not wanted:
            return []
        return [pg_rows.used_key(row) for row in await self._fetch("known_keys", pg_rows.columns(wanted))]

    async def _open_orders(self, records: Sequence[Record], renewals: Sequence[Renew]) -> dict[OrderId, Entry]:
        """Those of the orders that are open, locked until the commit."""
        changes = {each.change.order.id: each.change.order for each in records}
        ids = set(changes)
        ids.update(order_id for each in renewals for order_id in each.order_ids)
        if not ids:
            return {}
        rows = await self._fetch("lock_orders", [list(ids)])
        attempts = await self._attempts(records)
        places = [pg_rows.place(row, changes[row["id"]]) for row in rows if row["id"] in changes]
        return {order.id: Entry(0, order, attempts.get(order.id, {})) for order in places}

    async def _attempts(self, records: Sequence[Record]) -> dict[OrderId, dict[int, Attempt]]:
        """Those of orders whose attempts change. Asked for after the locks: it sees what they waited for."""
        changes = {each.change.order.id: each.change.attempt for each in records if each.change.attempt is not None}
        attempts: dict[OrderId, dict[int, Attempt]] = {}
        if changes:
            for row in await self._fetch("attempts_of", [list(changes)]):
                attempt = pg_rows.attempt_place(row, changes[row["order_id"]])
                attempts.setdefault(attempt.order_id, {})[attempt.number] = attempt
        return attempts

    async def _write(self, plan: Plan) -> None:
        if not plan:
            return
        self.wrote = True
        if plan.new_keys:
            await self._copy(pg_rows.keys(plan.new_keys))
        if plan.new:
            await self._copy(pg_rows.new_orders(plan.new.values()))
        steps = plan.steps.values()
        going = [step for step in steps if not step.ends]
        if going:
            await self._execute("step_orders", pg_rows.steps(going))
        await self._end([step for step in steps if step.ends])
        events = [event for _, events in plan.events for event in events]
        if events:
            await self._copy(pg_rows.events(events))
        await self._write_attempts(plan)

    async def _end(self, ended: Sequence[Step]) -> None:
        if not ended:
            return
        await self._execute("end_orders", [[step.order.id for step in ended]])
        await self._copy(pg_rows.ends(ended))
        counts = Counter([str(step.order.status) for step in ended])
        await self._execute("count_ended", [self._writer, list(counts), list(counts.values())])

    async def _write_attempts(self, plan: Plan) -> None:
        # Those that are over come first: one that goes live must find the other gone.
        changed = list(plan.attempt_steps.values())
        for live in (False, True):
            part = [each for each in changed if (each[1].state in LIVE) is live]
            if part:
                await self._execute("step_attempts", pg_rows.changed_attempts(part))
        if plan.new_attempts:
            await self._copy(pg_rows.new_attempts(plan.new_attempts.values()))

    async def _answer(self, accepted: Sequence[tuple[Accept, OrderId | None]]) -> None:
        repeated = {found for _, found in accepted if found is not None}
        stored: dict[OrderId, Order] = {}
        if repeated:
            for row in await self._fetch("orders", [list(repeated)]):
                order = pg_rows.order(row)
                stored[order.id] = order
        for accept, found in accepted:
            if found is None:
                accept.answer = Acceptance(accept.order, created=True)
            elif found in stored:
                accept.answer = Acceptance(stored[found], created=False)
            else:
                accept.answer = StoreUnavailable("the order of this key was removed a moment ago; nothing was written")

    async def _lease(self) -> None:
        leases = Leases(self._connection)
        for each in self._operations:
            match each:
                case Renew():
                    await leases.renew(each)
                case Claim():
                    each.answer = await leases.claim(each)
                case ClaimUnfinal():
                    each.answer = await leases.claim_unfinal(each)
        self.wrote = self.wrote or leases.wrote

    async def _execute(self, name: str, arguments: Sequence[object]) -> None:
        await self._connection.execute(_sql[name], *arguments)

    async def _copy(self, rows: pg_rows.Copied) -> None:
        await self._connection.copy_to_table(rows.table, source=rows.data(), columns=rows.columns)

    async def _fetch(self, name: str, arguments: Sequence[object]) -> list[asyncpg.Record]:
        return await self._connection.fetch(_sql[name], *arguments)


def _judge(plan: Plan, accepts: Sequence[Accept], records: Sequence[Record]) -> list[tuple[Accept, OrderId | None]]:
    """Let the plan take what it allows; the acceptances that it took, with the older orders that answer them."""
    accepted: list[tuple[Accept, OrderId | None]] = []
    for accept in accepts:
        try:
            accepted.append((accept, plan.accept(accept)))
        except BestexError as error:
            accept.answer = error
    for record in records:
        try:
            plan.record(record)
        except BestexError as error:
            record.answer = error
    return accepted
