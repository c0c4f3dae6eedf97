"""Which order comes next, and when: the queue of one kind of open orders, in memory."""

import heapq
from collections.abc import Mapping

from bestex.orders.attempt import Attempt
from bestex.orders.order import Order
from bestex.types import OrderId


class Entry:
    """An open order as it is on disk, its lease, and its place in a lane."""

    __slots__ = ("attempts", "claimable_ms", "number", "order", "place")

    def __init__(self, number: int, order: Order, attempts: Mapping[int, Attempt]) -> None:
        self.number = number
        """The key of its row."""
        self.attempts = attempts
        """By their number; replaced, never changed."""
        self.place = 0
        """Grows when the order is filed anew: what an older place says about it is void."""
        self.set(order)

    def set(self, order: Order) -> None:
        self.order = order
        self.claimable_ms = max(order.due_at_ms, order.lease_until_ms)
        """When it can be claimed: it must be due, and nobody may have it."""


class Lane:
    """Orders of one kind, each waiting for its time or, after that, for its turn.

    Orders that were filed elsewhere since, or ended, stay in the heaps until they come up.
    """

    def __init__(self, entries: Mapping[OrderId, Entry]) -> None:
        """`entries`: all that are open, of whatever kind."""
        self._entries = entries
        self._waiting: list[tuple[int, OrderId, int]] = []
        """When it can be claimed, id, place."""
        self._ready: list[tuple[int, OrderId, int]] = []
        """Priority, the greatest first; id; place."""

    def file(self, entry: Entry) -> None:
        """Put the order into this lane, out of any other place."""
        entry.place += 1
        heapq.heappush(self._waiting, (entry.claimable_ms, entry.order.id, entry.place))
        if len(self._waiting) > 1000 + 4 * len(self._entries):
            self._waiting = [item for item in self._waiting if self._find(item) is not None]
            heapq.heapify(self._waiting)

    def take(self, now_ms: int, limit: int) -> list[Entry]:
        """Up to `limit` orders that can be claimed, the first ones first. They have no place until filed again."""
        taken: list[Entry] = []
        self._promote(now_ms)
        while len(taken) < limit and (entry := self._first(now_ms)) is not None:
            heapq.heappop(self._ready)
            entry.place += 1
            taken.append(entry)
        return taken

    def next_ms(self, now_ms: int) -> int | None:
        """When the next order can be claimed: `now_ms` if one can be now, None if there is none."""
        self._promote(now_ms)
        if self._first(now_ms) is not None:
            return now_ms
        while self._waiting:
            item = self._waiting[0]
            entry = self._find(item)
            if entry is not None and entry.claimable_ms == item[0]:
                return item[0]
            self._wait_longer(entry)
        return None

    def _first(self, now_ms: int) -> Entry | None:
        """The order on top of `_ready`, if any can be claimed."""
        while self._ready:
            entry = self._find(self._ready[0])
            if entry is not None and entry.claimable_ms <= now_ms:
                return entry
            heapq.heappop(self._ready)
            if entry is not None:  # the clock was set back
                heapq.heappush(self._waiting, (entry.claimable_ms, entry.order.id, entry.place))
        return None

    def _promote(self, now_ms: int) -> None:
        """Move those whose time has come to `_ready`."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= now_ms:
            entry = self._find(waiting[0])
            if entry is None or entry.claimable_ms > now_ms:
                self._wait_longer(entry)
            else:
                heapq.heappop(waiting)
                heapq.heappush(self._ready, (-entry.order.terms.priority, entry.order.id, entry.place))

    def _wait_longer(self, entry: Entry | None) -> None:
        """Set the top of `_waiting` right: leases are prolonged and orders end without a word to their lane."""
        if entry is None:
            heapq.heappop(self._waiting)
        else:
            heapq.heapreplace(self._waiting, (entry.claimable_ms, entry.order.id, entry.place))

    def _find(self, item: tuple[int, OrderId, int]) -> Entry | None:
        entry = self._entries.get(item[1])
        return entry if entry is not None and entry.place == item[2] else None
