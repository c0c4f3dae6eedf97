"""The bus of one process."""

import asyncio
from collections import deque
from collections.abc import Sequence

from bestex.ports import Committed
from bestex.types import OrderId


class LocalSubscription:
    """One reader of one order. Holds at most `limit` events that were not read yet."""

    def __init__(self, bus: "LocalBus", order_id: OrderId, limit: int) -> None:
        self.overflowed = False
        self._bus = bus
        self._order_id = order_id
        self._limit = limit
        self._events: deque[Committed] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    async def next(self) -> Committed | None:
        """The next event; None when the subscription is closed, or has overflowed and is drained."""
        while not self._events:
            if self._closed or self.overflowed:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._events.popleft()

    def close(self) -> None:
        """Stop listening; a reader that waits gets None."""
        if not self._closed:
            self._closed = True
            self._events.clear()
            self._bus.forget(self._order_id, self)
            self._wake()

    def put(self, event: Committed) -> None:
        """Take an event, or drop it if the reader is too far behind."""
        if self.overflowed:
            return
        if len(self._events) >= self._limit:
            self.overflowed = True
        else:
            self._events.append(event)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class LocalBus:
    """Fan-out and wake-ups within one event loop."""

    def __init__(self, *, buffer_events: int) -> None:
        self._buffer_events = buffer_events
        self._readers: dict[OrderId, list[LocalSubscription]] = {}
        self._idle: set[asyncio.Future[None]] = set()
        self._woken = False

    def publish(self, events: Sequence[Committed]) -> None:
        """Hand events to those who subscribed to their orders."""
        readers = self._readers
        if not readers:
            return
        for event in events:
            for reader in readers.get(event.order_id, ()):
                reader.put(event)

    def subscribe(self, order_id: OrderId) -> LocalSubscription:
        """Listen to an order from now on."""
        subscription = LocalSubscription(self, order_id, self._buffer_events)
        self._readers.setdefault(order_id, []).append(subscription)
        return subscription

    def forget(self, order_id: OrderId, subscription: LocalSubscription) -> None:
        """Stop handing events to a subscription."""
        remaining = [reader for reader in self._readers.get(order_id, ()) if reader is not subscription]
        if remaining:
            self._readers[order_id] = remaining
        else:
            self._readers.pop(order_id, None)

    def wake(self) -> None:
        """Tell idle workers that there may be work."""
        self._woken = True
        for waiter in self._idle:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return at a wake-up since the last call, or after the timeout."""
        if not self._woken:
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            timer = loop.call_later(timeout_s, _finish, waiter)
            self._idle.add(waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._idle.discard(waiter)
        self._woken = False


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
