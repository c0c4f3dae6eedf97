"""One claimed order and the events that we add to it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from bestex.errors import StaleVersion
from bestex.orders.attempt import Attempt
from bestex.orders.events import Event
from bestex.orders.order import Order, utc
from bestex.orders.reduce import advance
from bestex.ports import Change, Clock, Store

Header = dict[str, Any]
"""`order_id`, `seq` and `at` of the next event."""

EventMaker = Callable[[Header], Event]
"""Makes an event once its place in the sequence is known."""


class Journal:
    """Numbers an order's events, keeps its state in step, and hands both to the store."""

    def __init__(self, order: Order, store: Store, clock: Clock) -> None:
        self.order = order
        self._store = store
        self._clock = clock

    def note(self, maker: EventMaker) -> None:
        """Have an event written, and wait for nothing.

        It goes along with the next write at the latest; should it fail, that one fails too.
        """
        self._record(maker, patient=True)

    def write(
        self, *makers: EventMaker, attempt: Attempt | None = None, release: bool = False, due_at_ms: int | None = None
    ) -> Awaitable[None]:
        """Queue the events for the next commit; await the result to know that they are on disk.

        Raises StaleVersion, when awaited, if the order was claimed or changed by somebody else.
        """
        return self._record(*makers, attempt=attempt, release=release, due_at_ms=due_at_ms)

    def _record(
        self,
        *makers: EventMaker,
        attempt: Attempt | None = None,
        release: bool = False,
        due_at_ms: int | None = None,
        patient: bool = False,
    ) -> Awaitable[None]:
        order, events = self.order, []
        at = utc(self._clock.now_ms())
        for maker in makers:
            event = maker({"order_id": order.id, "seq": order.seq + 1, "at": at})
            order = advance(order, event)
            events.append(event)
        if due_at_ms is not None:
            order = msgspec.structs.replace(order, due_at_ms=due_at_ms)
        self.order = order
        change = Change(order=order, events=tuple(events), attempt=attempt, release=release, patient=patient)
        return self._store.record(change)

    async def settle(
        self,
        decide: Callable[[Order], Sequence[EventMaker]],
        *,
        attempt: Attempt | None = None,
        due_at_ms: int | None = None,
    ) -> None:
        """Write what became of a try, and give up the lease.

        The client may ask for a cancel at any moment: `decide` is asked again with the order as it is then. Raises
        StaleVersion if the order is no longer ours.
        """
        while True:
            before = self.order
            try:
                await self.write(*decide(before), attempt=attempt, release=True, due_at_ms=due_at_ms)
            except StaleVersion:
                stored = await self._store.order(before.id)
                if stored.lease_epoch != before.lease_epoch or stored.status is not before.status:
                    raise
                if stored.seq == before.seq:
                    raise
                self.order = stored
            else:
                return
