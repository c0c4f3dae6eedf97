"""The open orders, in memory: what can be claimed, who has it, and what a change must fit onto.

One process owns the database, so memory may answer for it: this is what the rows of the open orders say, kept up after
every commit and read anew when the store is opened. Leases are here only: they end with the process anyway.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice

import msgspec

from bestex.orders.attempt import Attempt
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.ports import Claim, Claims, QueueStats, RateLimit
from bestex.store.lanes import Entry, Lane
from bestex.store.starts import Starts
from bestex.types import OrderId


class OpenOrders:
    """Every order that is not terminal. Only one thread at a time may change it."""

    def __init__(self, entries: Iterable[Entry], counts: Mapping[str, int], starts: Starts) -> None:
        """`entries` oldest first, without leases; `counts` of all orders, the ended ones too."""
        self._entries: dict[OrderId, Entry] = {}
        self._pending = Lane(self._entries)
        self._begun = Lane(self._entries)
        self._unfinal = Lane(self._entries)
        self._lanes: Mapping[Status, Lane] = {
            Status.PENDING: self._pending,
            Status.ROUTING: self._begun,
            Status.BUILDING: self._begun,
            Status.SUBMITTED: self._begun,
            Status.CONFIRMED: self._unfinal,
        }
        self._counts = Counter(counts)
        self.starts = starts
        self._leased: dict[str, dict[OrderId, Entry]] = {}
        for entry in entries:
            self.add(entry)

    def get(self, order_id: OrderId) -> Entry | None:
        """The order, unless it has ended or never was."""
        return self._entries.get(order_id)

    def add(self, entry: Entry) -> None:
        """A new order."""
        self._entries[entry.order.id] = entry
        self._lanes[entry.order.status].file(entry)

    def move(self, entry: Entry, order: Order, attempts: Mapping[int, Attempt], *, release: bool) -> None:
        """Take the order to where a commit has brought it. It keeps its lease unless it is released."""
        before = entry.order
        owner, until_ms = before.lease_owner, before.lease_until_ms
        if release:
            self._release(entry)
            owner, until_ms = None, 0
        if order.lease_until_ms != until_ms or order.lease_owner != owner:
            order = msgspec.structs.replace(order, lease_owner=owner, lease_until_ms=until_ms)
        was_claimable_ms = entry.claimable_ms
        entry.set(order)
        entry.attempts = attempts
        if order.status is not before.status or entry.claimable_ms < was_claimable_ms:
            self._lanes[order.status].file(entry)

    def end(self, entry: Entry) -> None:
        """Forget an order that is terminal."""
        self._release(entry)
        del self._entries[entry.order.id]

    def count(self, moved: Mapping[str, int]) -> None:
        """How many more orders are in each status."""
        self._counts.update(moved)

    # --- claims -------------------------------------------------------------------------------------------------------

    def claim(self, worker: str, *, limit: int, now_ms: int, lease_ms: int, rate: RateLimit | None) -> Claims:
        """As `Store.claim`."""
        begun = self._begun.take(now_ms, limit)
        room = limit - len(begun)
        if rate is not None:
            room = min(room, self.starts.room(rate, now_ms))
        pending = self._pending.take(now_ms, room)
        if pending:
            # On disk with the next commit, and so not after the first step of any of these orders.
            self.starts.add(now_ms, len(pending))
        claims = [self._lease(entry, worker, now_ms + lease_ms) for entry in begun + pending]
        return Claims(claims, self._next_ms(now_ms, rate))

    def claim_unfinal(self, worker: str, *, limit: int, now_ms: int, lease_ms: int) -> Claims:
        """As `Store.claim_unfinal`."""
        taken = self._unfinal.take(now_ms, limit)
        claims = [self._lease(entry, worker, now_ms + lease_ms) for entry in taken]
        return Claims(claims, self._unfinal.next_ms(now_ms))

    def renew(self, worker: str, order_ids: Iterable[OrderId], lease_until_ms: int) -> None:
        """As `Store.renew`. A lease is never made shorter."""
        held = self._leased.get(worker, {})
        for order_id in order_ids:
            entry = held.get(order_id)
            if entry is not None and entry.order.lease_until_ms < lease_until_ms:
                entry.set(msgspec.structs.replace(entry.order, lease_until_ms=lease_until_ms))

    def give_back(self, order_id: OrderId) -> None:
        """End the lease on an order whose claim could not be answered. Its epoch stays used."""
        entry = self._entries[order_id]
        self._release(entry)
        entry.set(msgspec.structs.replace(entry.order, lease_owner=None, lease_until_ms=0))
        self._lanes[entry.order.status].file(entry)

    def _lease(self, entry: Entry, worker: str, until_ms: int) -> Claim:
        self._release(entry)
        order = entry.order
        order = msgspec.structs.replace(
            order, lease_owner=worker, lease_until_ms=until_ms, lease_epoch=order.lease_epoch + 1
        )
        entry.set(order)
        self._leased.setdefault(worker, {})[order.id] = entry
        self._lanes[order.status].file(entry)
        return Claim(order, entry.attempts[max(entry.attempts)] if entry.attempts else None)

    def _release(self, entry: Entry) -> None:
        owner = entry.order.lease_owner
        if owner is not None:
            held = self._leased[owner]
            del held[entry.order.id]
            if not held:
                del self._leased[owner]

    def _next_ms(self, now_ms: int, rate: RateLimit | None) -> int | None:
        """When another order can be claimed."""
        begun_ms = self._begun.next_ms(now_ms)
        pending_ms = self._pending.next_ms(now_ms)
        if pending_ms is not None and rate is not None and not self.starts.room(rate, now_ms):
            reopens_ms = self.starts.reopens_ms(rate, now_ms)
            pending_ms = None if reopens_ms is None else max(pending_ms, reopens_ms)
        return min((at_ms for at_ms in (begun_ms, pending_ms) if at_ms is not None), default=None)

    # --- views --------------------------------------------------------------------------------------------------------

    def oldest(self, limit: int) -> list[Order]:
        """Open orders, oldest first."""
        return [entry.order for entry in islice(self._entries.values(), limit)]

    def page(self, user_id: str | None, status: Status, before: int, limit: int) -> list[tuple[int, Order]]:
        """Open orders in one status with their numbers, newest first, from below the number `before` on."""
        matching = (
            (entry.number, entry.order)
            for entry in reversed(self._entries.values())
            if entry.order.status is status
            and entry.number < before
            and (user_id is None or entry.order.terms.user_id == user_id)
        )
        return list(islice(matching, limit))

    def with_lease(self, stored: Order) -> Order:
        """The order as read from disk, with its lease if it has one."""
        entry = self._entries.get(stored.id)
        return entry.order if entry is not None and entry.order.seq == stored.seq else stored

    def stats(self, now_ms: int, window_ms: int) -> QueueStats:
        """As `Store.stats`."""
        waiting = delayed = in_work = 0
        oldest_ms: int | None = None
        for entry in self._entries.values():
            order = entry.order
            if order.lease_until_ms > now_ms:
                in_work += 1
            elif order.status is not Status.PENDING:
                continue
            elif order.due_at_ms > now_ms:
                delayed += 1
            else:
                waiting += 1
                oldest_ms = order.created_at_ms if oldest_ms is None else min(oldest_ms, order.created_at_ms)
        return QueueStats(
            by_status={status: self._counts[str(status)] for status in Status},
            waiting=waiting,
            delayed=delayed,
            in_work=in_work,
            oldest_waiting_ms=oldest_ms,
            started_in_window=self.starts.since(now_ms - window_ms),
        )
