"""Which writes of a batch are allowed, and what they come to. Touches neither disk nor memory.

The writes are judged one after the other, each as if those before it were stored already. What is left to write is the
final state per order, in one statement per table.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol, TypeAlias

import msgspec

from bestex.errors import Conflict, IdempotencyMismatch, StaleVersion
from bestex.orders.attempt import LIVE, Attempt
from bestex.ports import Committed
from bestex.store.lanes import Entry
from bestex.store.open_orders import OpenOrders
from bestex.store.operations import Accept, Record
from bestex.types import OrderId

NumberedAttempt: TypeAlias = tuple[int, Attempt]
"""An attempt with the number of its order."""


class UsedKey(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An idempotency key, and what it was used for."""

    account: str
    kind: str
    key: str
    order_id: OrderId
    request_hash: str


class Step:
    """Where the batch brings an open order."""

    __slots__ = ("attempts", "ends", "entry", "order", "release")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.order = entry.order
        self.attempts = entry.attempts
        self.release = False
        self.ends = False


class Found(Protocol):
    """The open orders that a batch is judged by, as far as it touches them."""

    def get(self, order_id: OrderId, /) -> Entry | None: ...


class Plan:
    """The writes of one batch that are allowed."""

    def __init__(self, open_orders: Found, used_keys: list[UsedKey], last_number: int) -> None:
        """`last_number`: the number of the newest order on disk."""
        self.new: dict[OrderId, Entry] = {}
        self.steps: dict[OrderId, Step] = {}
        self.events: list[tuple[int, Sequence[Committed]]] = []
        """Events of one order each, with its number."""
        self.new_attempts: dict[tuple[OrderId, int], NumberedAttempt] = {}
        self.attempt_steps: dict[tuple[OrderId, int], NumberedAttempt] = {}
        self.new_keys: list[UsedKey] = []
        self.last_number = last_number
        self._open_orders = open_orders
        self._keys = {(used.account, used.kind, used.key): used for used in used_keys}

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.events or self.steps or self.new_keys)

    def accept(self, operation: Accept) -> OrderId | None:
        """None: the order is new; or the id of the one that the same keys had created. Raises IdempotencyMismatch."""
        order, keys = operation.order, operation.keys
        found: OrderId | None = None
        new: list[tuple[str, str]] = []
        for kind, key in operation.kinds:
            used = self._keys.get((keys.account, kind, key))
            if used is None:
                new.append((kind, key))
            elif used.request_hash != keys.request_hash:
                raise IdempotencyMismatch(
                    f"{kind} {key!r} was used before for a request with other content", key=kind, order_id=used.order_id
                )
            else:
                found = found or used.order_id
        if found is None:
            self._create(operation)
        for kind, key in new:
            # A new key that comes with a known one stands for the known order from now on.
            used = UsedKey(keys.account, kind, key, found or order.id, keys.request_hash)
            self._keys[keys.account, kind, key] = used
            self.new_keys.append(used)
        return found

    def record(self, operation: Record) -> None:
        """Raises StaleVersion, and Conflict for an attempt that may not be there beside the others."""
        change, events = operation.change, operation.events
        order = change.order
        step = self.steps.get(order.id) or self._begin(order.id)
        stored = step.order
        after = events[0].seq - 1 if events else order.seq
        if stored.lease_epoch != order.lease_epoch or stored.seq != after or step.ends:
            raise StaleVersion(
                f"order {order.id} is at event {stored.seq} of epoch {stored.lease_epoch}, "
                f"the change is for event {after} of epoch {order.lease_epoch}",
                order_id=order.id,
            )
        if change.attempt is not None:
            self._attempt(step, change.attempt)
        step.order = order
        step.ends = operation.ends
        if change.release:
            step.release = True
        self.steps[order.id] = step
        self.events.append((step.entry.number, events))

    @cached_property
    def moved(self) -> Counter[str]:
        """How many more orders are in each status; to be asked for before `apply`."""
        # As plain texts: members of an enumeration are hashed in Python.
        moved = Counter([str(entry.order.status) for entry in self.new.values()])
        moved.update([str(step.order.status) for step in self.steps.values()])
        moved.subtract([str(step.entry.order.status) for step in self.steps.values()])
        return moved

    def apply(self, open_orders: OpenOrders) -> None:
        """Tell the open orders what is on disk now."""
        open_orders.count(self.moved)
        for entry in self.new.values():
            open_orders.add(entry)
        for step in self.steps.values():
            if step.ends:
                open_orders.end(step.entry)
            else:
                open_orders.move(step.entry, step.order, step.attempts, release=step.release)

    def _create(self, operation: Accept) -> None:
        order = operation.order
        self.last_number += 1
        self.new[order.id] = Entry(self.last_number, order, {})
        self.events.append((self.last_number, (operation.event,)))

    def _begin(self, order_id: OrderId) -> Step:
        entry = self._open_orders.get(order_id)
        if entry is None:
            raise StaleVersion(f"order {order_id} has ended, or there is no such order", order_id=order_id)
        return Step(entry)

    def _attempt(self, step: Step, attempt: Attempt) -> None:
        others = step.attempts
        known = others.get(attempt.number)
        if known is not None and known.signature != attempt.signature:
            raise Conflict(f"attempt {attempt.number} of order {attempt.order_id} has another transaction")
        if attempt.state in LIVE:
            for other in others.values():
                if other.state in LIVE and other.number != attempt.number:
                    raise Conflict(f"attempt {other.number} of order {attempt.order_id} may yet land")
        step.attempts = {**others, attempt.number: attempt}
        key, row = (attempt.order_id, attempt.number), (step.entry.number, attempt)
        if attempt.number in step.entry.attempts:
            self.attempt_steps[key] = row
        else:
            self.new_attempts[key] = row
