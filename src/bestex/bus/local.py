"""The bus inside one process."""

import asyncio
from collections import deque
from collections.abc import Sequence

from bestex.orders.order import Order
from bestex.ports import Committed
from bestex.types import OrderId


class LocalSubscription:
    """A `Subscription`: a bounded buffer of one order's events, for one reader."""

    def __init__(
        self, bus: "LocalBus", order_id: OrderId, buffer_events: int, recent: Sequence[Committed] = ()
    ) -> None:
        """`recent`: what the bus remembers of the order, from its first event on."""
        self.overflowed = False
        self.lost = False
        self.whole = 0 < len(recent) <= buffer_events
        self._bus = bus
        self._order_id = order_id
        self._room = buffer_events
        self._events: deque[Committed] = deque(recent if self.whole else ())
        self._reader: asyncio.Future[None] | None = None
        self._closed = False

    async def next(self) -> Committed | None:
        """As `Subscription.next`. One reader at a time."""
        while not self._events:
            if self._closed or self.overflowed or self.lost:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._events.popleft()

    def close(self) -> None:
        """End the subscription: what is buffered is dropped, and a waiting reader gets None."""
        self._closed = True
        self._events.clear()
        self._bus.remove(self._order_id, self)
        self._wake()

    def put(self, event: Committed) -> None:
        """Buffer the event. The first that does not fit ends the subscription: a gap is worse than an end."""
        if len(self._events) < self._room:
            self._events.append(event)
        else:
            self.overflowed = True
            self._bus.remove(self._order_id, self)
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class LocalBus:
    """A `Bus` for one event loop."""

    def __init__(self, *, buffer_events: int, recent_orders: int = 0) -> None:
        """`buffer_events`: how many events a subscription holds for a reader that lags.

        `recent_orders`: of how many orders that this process has accepted all events are remembered, so that whoever
        subscribes need not read the store. For a bus that brings the events of all processes.
        """
        self._buffer_events = buffer_events
        self._recent_orders = recent_orders
        self._recent: dict[OrderId, list[Committed] | None] = {}
        """From the first event on without a gap; None: not all of them are known."""
        self._subscriptions: dict[OrderId, list[LocalSubscription]] = {}
        self._woken = False
        self._idle: dict[asyncio.Future[None], None] = {}
        """In the order in which they came: a set would wake them in one that differs from run to run."""

    def publish(self, events: Sequence[Committed]) -> None:
        """As `Bus.publish`. An order that nobody watches costs one look-up."""
        if self._recent_orders:
            for event in events:
                if event.seq == 1 and event.order_id not in self._recent:
                    self._begin(event.order_id, [])
        self.hand_out(events)

    def hand_out(self, events: Sequence[Committed]) -> None:
        """Give the events to those who watch, and remember those of recent orders."""
        if self._recent_orders:
            for event in events:
                self._remember(event)
        subscriptions = self._subscriptions
        if not subscriptions:
            return
        for event in events:
            watching = subscriptions.get(event.order_id)
            if watching is not None:
                for subscription in tuple(watching):
                    subscription.put(event)

    def subscribe(self, order_id: OrderId) -> LocalSubscription:
        """As `Bus.subscribe`."""
        subscription = LocalSubscription(self, order_id, self._buffer_events, self._recent.get(order_id) or ())
        self._subscriptions.setdefault(order_id, []).append(subscription)
        return subscription

    def forget(self) -> None:
        """Events may be missing from now on or have been missed: who subscribes has to read the store."""
        self._recent.clear()

    def _remember(self, event: Committed) -> None:
        known = self._recent.get(event.order_id)
        if known is not None and event.seq == len(known) + 1:
            known.append(event)
        elif known is None or event.seq > len(known):
            # One is missing, or another process was faster than the news of our own commit.
            self._begin(event.order_id, None)

    def _begin(self, order_id: OrderId, known: list[Committed] | None) -> None:
        self._recent[order_id] = known
        if len(self._recent) > self._recent_orders:
            del self._recent[next(iter(self._recent))]

    async def active(self, limit: int) -> list[Order] | None:  # noqa: ARG002
        """As `Bus.active`: never known here."""
        return None

    def remove(self, order_id: OrderId, subscription: LocalSubscription) -> None:
        """Forget the subscription; nothing happens if it is forgotten already."""
        watching = self._subscriptions.get(order_id)
        if watching is not None and subscription in watching:
            watching.remove(subscription)
            if not watching:
                del self._subscriptions[order_id]

    def close(self) -> None:
        """End all subscriptions: whoever reads one learns that the process stops."""
        for watching in list(self._subscriptions.values()):
            for subscription in tuple(watching):
                subscription.close()

    def wake(self) -> None:
        """As `Bus.wake`: everybody who waits, or else the next who comes to wait."""
        heard = False
        for waiter in self._idle:
            if not waiter.done():
                waiter.set_result(None)
            heard = heard or not waiter.cancelled()  # who has been woken already in this turn has yet to look
        self._woken = self._woken or not heard

    async def wait_for_work(self, timeout_s: float) -> None:
        """As `Bus.wait_for_work`."""
        if self._woken:
            self._woken = False
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._idle[waiter] = None
        timer = loop.call_later(timeout_s, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._idle.pop(waiter, None)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
