"""A batch of operations, written in one SQLite transaction."""

from typing import Any

import apsw
import msgspec

from bestex.errors import BestexError, Conflict, StoreUnavailable
from bestex.orders.order import Order
from bestex.ports import Acceptance, Committed
from bestex.store import rows, statements
from bestex.store.commit import Operation
from bestex.store.database import reachable, text
from bestex.store.open_orders import OpenOrders
from bestex.store.operations import Accept, Claim, ClaimUnfinal, Ping, Record, Renew
from bestex.store.plan import Plan, UsedKey, kinds
from bestex.store.starts import Starts
from bestex.types import OrderId

_sql = {**statements.load("write"), **statements.load("read")}
_used_keys: msgspec.json.Decoder[list[UsedKey]] = msgspec.json.Decoder(list[UsedKey])


class Writer:
    """Owns the connection that writes, and the open orders in memory, which say what is on disk."""

    def __init__(self, connection: apsw.Connection) -> None:
        """The schema must be the present one. Raises StoreUnavailable."""
        self._connection = connection
        with reachable():
            connection.execute(statements.script("batch"))
            counts = rows.decode_counts(text(connection, _sql["counts"]))
            entries = rows.decode_open_orders(text(connection, _sql["open_orders"]))
        self._last_number = counts.last_number
        self.open_orders = OpenOrders(entries, counts.by_status, Starts(counts.starts))

    def run(self, operations: list[Operation[Any]]) -> list[Committed]:
        """Write what is allowed, answer all, and return the events that are on disk now.

        What is refused, or is not what it should be, fails alone; when nothing can be written, everything fails.
        """
        try:
            return self._commit(operations)
        except StoreUnavailable as error:
            for operation in operations:
                operation.answer = StoreUnavailable(error.message, **error.context)
            return []
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            if len(operations) == 1:
                operations[0].answer = _refusal(error)
                return []
        # One of them is not what the plan took it for. Halve the batch until it stands alone.
        half = len(operations) // 2
        return self.run(operations[:half]) + self.run(operations[half:])

    def _commit(self, operations: list[Operation[Any]]) -> list[Committed]:
        accepts: list[Accept] = []
        records: list[Record] = []
        others: list[Operation[Any]] = []
        for operation in operations:
            if isinstance(operation, Record):
                records.append(operation)
            elif isinstance(operation, Accept):
                accepts.append(operation)
            else:
                others.append(operation)
        plan = Plan(self.open_orders, self._used_keys(accepts), self._last_number)
        accepted = _judge(plan, accepts, records)
        pings = sum(isinstance(each, Ping) for each in others)
        if plan or pings:
            self._write(plan, pings)
            plan.apply()
            self._last_number = plan.last_number
        for accept, found in accepted:
            accept.answer = Acceptance(accept.order if found is None else self._order(found), found is None)
        self._lease(others)
        if self.open_orders.starts.unsaved:
            self._save_starts(others)
        return plan.events

    def _save_starts(self, operations: list[Operation[Any]]) -> None:
        """Before anyone begins what was claimed: the rate limit must hold over a crash at any moment."""
        try:
            self._write(Plan(self.open_orders, [], self._last_number), pings=0)
        except StoreUnavailable as error:
            for each in operations:
                if isinstance(each, Claim):
                    each.answer = StoreUnavailable(error.message, **error.context)

    def _write(self, plan: Plan, pings: int) -> None:
        """One step of SQLite, which is one transaction: see queries/batch.sql."""
        starts, pruned_to_ms = self.open_orders.starts.unsaved, self.open_orders.starts.prune()
        bindings = {
            **rows.new_orders(plan.new.values()),
            **rows.steps(plan.steps.values()),
            **rows.events(plan.numbers, plan.events),
            **rows.attempts(plan.new_attempts.values(), plan.attempt_steps.values()),
            "new_keys": rows.encode(plan.new_keys),
            "counts": rows.encode(list(plan.moved.items())),
            "starts": rows.encode(starts),
            "starts_pruned_to_ms": pruned_to_ms,
            "pings": pings,
        }
        with reachable():
            self._connection.execute(_sql["write"], bindings)
        starts.clear()

    def _used_keys(self, accepts: list[Accept]) -> list[UsedKey]:
        wanted = [(accept.keys.account, kind, key) for accept in accepts for kind, key in kinds(accept)]
        if not wanted:
            return []
        with reachable():
            return _used_keys.decode(text(self._connection, _sql["known_keys"], (rows.encode(wanted),)))

    def _order(self, order_id: OrderId) -> Order:
        entry = self.open_orders.get(order_id)
        if entry is not None:
            return entry.order
        with reachable():
            return rows.decode_orders(text(self._connection, _sql["orders"], (rows.encode([order_id]),)))[0]

    def _lease(self, operations: list[Operation[Any]]) -> None:
        for each in operations:
            match each:
                case Renew():
                    self.open_orders.renew(each.worker, each.order_ids, each.lease_until_ms)
                case Claim():
                    each.answer = self.open_orders.claim(
                        each.worker, limit=each.limit, now_ms=each.now_ms, lease_ms=each.lease_ms, rate=each.rate
                    )
                case ClaimUnfinal():
                    each.answer = self.open_orders.claim_unfinal(
                        each.worker, limit=each.limit, now_ms=each.now_ms, lease_ms=each.lease_ms
                    )


def _judge(plan: Plan, accepts: list[Accept], records: list[Record]) -> list[tuple[Accept, OrderId | None]]:
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


def _refusal(error: Exception) -> Exception:
    """What SQLite's unique indexes refuse is a conflict: an order's id, or a transaction, that is stored already."""
    unique = (apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY)
    if isinstance(error, apsw.ConstraintError) and getattr(error, "extendedresult", None) in unique:
        conflict = Conflict(f"it is stored already ({error})")
        conflict.__cause__ = error
        return conflict
    return error
