"""A batch of operations, written in one SQLite transaction."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import apsw
import msgspec

from bestex.errors import BestexError, Conflict, StoreUnavailable
from bestex.orders.order import Order
from bestex.ports import Acceptance, Claims, Committed
from bestex.store import rows, statements
from bestex.store.commit import Operation
from bestex.store.database import reachable, text
from bestex.store.open_orders import OpenOrders
from bestex.store.operations import Accept, Claim, ClaimUnfinal, Ping, Record, Renew
from bestex.store.plan import Plan, UsedKey
from bestex.store.starts import Starts
from bestex.types import OrderId

Write: TypeAlias = Accept | Record | Ping
_WRITES = (Accept, Record, Ping)

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
        """Write what is allowed, then give leases; answer all, and return the events that are on disk now.

        What is refused, or is not what it should be, fails alone; when nothing can be written, everything fails.
        """
        writes = [each for each in operations if isinstance(each, _WRITES)]
        try:
            events = self._commit(writes)
        except StoreUnavailable as error:
            _refuse(operations, error)
            return []
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            events = self._commit_in_parts(writes, error)
        if len(writes) < len(operations):
            self._lease([each for each in operations if not isinstance(each, _WRITES)])
        return events

    def _commit_in_parts(self, writes: list[Write], error: Exception) -> list[Committed]:
        """One of the writes is not what the plan took it for: halve them until it stands alone."""
        if len(writes) == 1:
            writes[0].answer = _explained(error)
            return []
        events: list[Committed] = []
        half = len(writes) // 2
        for part in (writes[:half], writes[half:]):
            try:
                events += self._commit(part)
            except StoreUnavailable as unavailable:
                _refuse(part, unavailable)
            except Exception as again:  # noqa: BLE001 - whoever asked gets it
                events += self._commit_in_parts(part, again)
        return events

    def _commit(self, writes: list[Write]) -> list[Committed]:
        """If this raises, nothing of it is on disk. Nothing can go wrong after the one statement that writes."""
        accepts = [each for each in writes if isinstance(each, Accept)]
        pings = sum(isinstance(each, Ping) for each in writes)
        plan = Plan(self.open_orders, self._used_keys(accepts), self._last_number)
        accepted = _judge(plan, accepts, [each for each in writes if isinstance(each, Record)])
        repeated = [found for _, found in accepted if found is not None]
        ended = self._ended([found for found in repeated if found not in plan.new and not self.open_orders.get(found)])
        if plan or pings:
            self._write(plan, pings)
            plan.apply(self.open_orders)
            self._last_number = plan.last_number
            ended |= {order_id: rows.unleased(step.order) for order_id, step in plan.steps.items() if step.ends}
        for accept, found in accepted:
            entry = None if found is None else self.open_orders.get(found)
            order = accept.order if found is None else entry.order if entry else ended[found]
            accept.answer = Acceptance(order, found is None)
        return [event for _, events in plan.events for event in events]

    def _write(self, plan: Plan, pings: int) -> None:
        """One step of SQLite, which is one transaction: see queries/batch.sql."""
        starts, pruned_to_ms = self.open_orders.starts.unsaved, self.open_orders.starts.prune()
        bindings = {
            **rows.new_orders(plan.new.values()),
            **rows.steps(plan.steps.values()),
            **rows.events(plan.events),
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
        wanted = [(accept.keys.account, kind, key) for accept in accepts for kind, key in accept.kinds]
        if not wanted:
            return []
        with reachable():
            return _used_keys.decode(text(self._connection, _sql["known_keys"], (rows.encode(wanted),)))

    def _ended(self, order_ids: list[OrderId]) -> dict[OrderId, Order]:
        if not order_ids:
            return {}
        with reachable():
            listed = text(self._connection, _sql["orders"], (rows.encode(order_ids),))
        return {order.id: order for order in rows.decode_orders(listed)}

    def _lease(self, operations: list[Operation[Any]]) -> None:
        limited: list[Claim] = []
        for each in operations:
            match each:
                case Renew():
                    self.open_orders.renew(each.worker, each.order_ids, each.lease_until_ms)
                case Claim():
                    each.answer = self.open_orders.claim(
                        each.worker, limit=each.limit, now_ms=each.now_ms, lease_ms=each.lease_ms, rate=each.rate
                    )
                    if each.rate is not None:
                        limited.append(each)
                case ClaimUnfinal():
                    each.answer = self.open_orders.claim_unfinal(
                        each.worker, limit=each.limit, now_ms=each.now_ms, lease_ms=each.lease_ms
                    )
        if limited and self.open_orders.starts.unsaved:
            self._save_starts(limited)

    def _save_starts(self, claims: list[Claim]) -> None:
        """Before anyone begins what was claimed: the rate limit holds over a crash at any moment.

        Without a limit, starts only wait for the next commit: nothing is decided by them.
        """
        try:
            self._write(Plan(self.open_orders, [], self._last_number), pings=0)
        except StoreUnavailable as error:
            for claim in claims:
                assert isinstance(claim.answer, Claims)
                for each in claim.answer.claims:
                    self.open_orders.give_back(each.order.id)
            _refuse(claims, error)


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


def _refuse(operations: Sequence[Operation[Any]], error: StoreUnavailable) -> None:
    """To each an error of its own: whoever raises one writes his traceback into it."""
    for operation in operations:
        operation.answer = StoreUnavailable(error.message, **error.context)


def _explained(error: Exception) -> Exception:
    """What SQLite's unique indexes refuse is a conflict: an order's id, or a transaction, that is stored already."""
    unique = (apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY)
    if isinstance(error, apsw.ConstraintError) and getattr(error, "extendedresult", None) in unique:
        conflict = Conflict(f"it is stored already ({error})")
        conflict.__cause__ = error
        return conflict
    return error
