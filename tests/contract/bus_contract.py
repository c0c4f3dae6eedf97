"""What every Bus must do, however it carries the news. Each `test_*_bus.py` holds one against it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest

from bestex.orders.status import Status
from bestex.ports import Bus, Committed
from bestex.types import OrderId

A, B = OrderId("a"), OrderId("b")
SOON_S = 0.001
"""A timeout that is meant to pass."""
LONG_S = 60.0
"""A timeout that is not."""


class Ends(NamedTuple):
    """Both ends of a bus: the same object, or two nodes."""

    near: Bus
    """Here is watched and waited. A subscription holds four events, and no wake-up waits."""
    far: Bus
    """Here events are published."""
    arrived: Callable[[], Awaitable[None]]
    """Wait until `near` has all that was published or woken at `far`."""


async def at_once() -> None:
    """The `arrived` of a bus that carries everything at once."""


def event(order_id: OrderId, seq: int) -> Committed:
    return Committed(order_id, seq, Status.PENDING, False, b"{}")


def events(order_id: OrderId, *seqs: int) -> list[Committed]:
    return [event(order_id, seq) for seq in seqs]


async def turn() -> None:
    """Let everybody else go on as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


class Watching:
    async def test_events_come_in_order(self, ends: Ends) -> None:
        subscription = ends.near.subscribe(A)
        ends.far.publish(events(A, 1, 2))
        ends.far.publish(events(A, 3))
        assert [await subscription.next() for _ in range(3)] == events(A, 1, 2, 3)

    async def test_only_of_the_order_that_is_watched(self, ends: Ends) -> None:
        subscription = ends.near.subscribe(A)
        ends.far.publish([event(B, 1), event(A, 1), event(B, 2)])
        ends.far.publish(events(A, 2))
        assert [await subscription.next() for _ in range(2)] == events(A, 1, 2)

    async def test_orders_do_not_mix(self, ends: Ends) -> None:
        both = {order_id: ends.near.subscribe(order_id) for order_id in (A, B)}
        for seq in range(1, 4):
            ends.far.publish([event(B, seq), event(A, seq)])
        for order_id, subscription in both.items():
            assert [await subscription.next() for _ in range(3)] == events(order_id, 1, 2, 3)

    async def test_an_event_comes_whole(self, ends: Ends) -> None:
        whole = Committed(A, 7, Status.CONFIRMED, True, '{"at":"2026-01-31T12:00:00Z","note":"\u00fc"}'.encode())
        subscription = ends.near.subscribe(A)
        ends.far.publish([whole])
        assert await subscription.next() == whole

    async def test_nothing_is_published(self, ends: Ends) -> None:
        subscription = ends.near.subscribe(A)
        ends.far.publish([])
        ends.far.publish(events(A, 1))
        assert await subscription.next() == event(A, 1)

    async def test_every_watcher_gets_all(self, ends: Ends) -> None:
        both = [ends.near.subscribe(A), ends.near.subscribe(A)]
        ends.far.publish(events(A, 1, 2))
        for subscription in both:
            assert [await subscription.next() for _ in range(2)] == events(A, 1, 2)

    async def test_from_the_moment_of_subscribing_or_else_from_the_first(self, ends: Ends) -> None:
        ends.far.publish(events(A, 1))
        await ends.arrived()
        subscription = ends.near.subscribe(A)
        ends.far.publish(events(A, 2))
        if subscription.whole:
            assert await subscription.next() == event(A, 1)
        assert await subscription.next() == event(A, 2)

    async def test_a_reader_that_waits_is_woken(self, ends: Ends) -> None:
        subscription = ends.near.subscribe(A)
        reading = asyncio.create_task(subscription.next())
        await turn()
        assert not reading.done()
        ends.far.publish(events(A, 1))
        assert await reading == event(A, 1)

    async def test_a_reader_that_gave_up_loses_nothing(self, ends: Ends) -> None:
        subscription = ends.near.subscribe(A)
        reading = asyncio.create_task(subscription.next())
        await turn()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        ends.far.publish(events(A, 1))
        assert await subscription.next() == event(A, 1)

    async def test_a_closed_subscription_ends(self, ends: Ends) -> None:
        subscription = ends.near.subscribe(A)
        ends.far.publish(events(A, 1))
        await ends.arrived()
        subscription.close()
        ends.far.publish(events(A, 2))
        await ends.arrived()
        assert await subscription.next() is None
        assert not subscription.overflowed
        subscription.close()

    async def test_closing_wakes_a_reader_that_waits(self, ends: Ends) -> None:
        subscription = ends.near.subscribe(A)
        reading = asyncio.create_task(subscription.next())
        await turn()
        subscription.close()
        assert await reading is None

    async def test_closing_one_leaves_the_other(self, ends: Ends) -> None:
        one, other = ends.near.subscribe(A), ends.near.subscribe(A)
        one.close()
        ends.far.publish(events(A, 1))
        assert await other.next() == event(A, 1)

    async def test_a_slow_reader_is_cut_off(self, ends: Ends) -> None:
        subscription, quick = ends.near.subscribe(A), ends.near.subscribe(A)
        for seq in range(1, 8):
            ends.far.publish(events(A, seq))
            assert await quick.next() == event(A, seq)
        assert subscription.overflowed
        assert not quick.overflowed
        assert [await subscription.next() for _ in range(5)] == [*events(A, 1, 2, 3, 4), None]

    async def test_after_an_overflow_there_is_no_gap(self, ends: Ends) -> None:
        subscription = ends.near.subscribe(A)
        ends.far.publish(events(A, 1, 2, 3, 4, 5))
        await ends.arrived()
        assert await subscription.next() == event(A, 1)
        ends.far.publish(events(A, 6))  # there is room again, but 5 is lost
        await ends.arrived()
        assert [await subscription.next() for _ in range(4)] == [*events(A, 2, 3, 4), None]

    async def test_a_full_buffer_is_no_overflow(self, ends: Ends) -> None:
        subscription = ends.near.subscribe(A)
        ends.far.publish(events(A, 1, 2, 3, 4))
        await ends.arrived()
        assert not subscription.overflowed


class Waking:
    async def test_who_waits_is_woken(self, ends: Ends) -> None:
        waiting = asyncio.create_task(ends.near.wait_for_work(LONG_S))
        await turn()
        assert not waiting.done()
        ends.far.wake()
        await waiting

    async def test_all_who_wait_are_woken(self, ends: Ends) -> None:
        waiting = [asyncio.create_task(ends.near.wait_for_work(LONG_S)) for _ in range(3)]
        await turn()
        ends.far.wake()
        await asyncio.gather(*waiting)

    async def test_a_wake_up_before_the_call_is_not_lost(self, ends: Ends) -> None:
        ends.far.wake()
        await ends.near.wait_for_work(LONG_S)

    async def test_a_wake_up_counts_once(self, ends: Ends) -> None:
        ends.far.wake()
        ends.far.wake()
        await ends.arrived()
        await ends.near.wait_for_work(LONG_S)
        waiting = asyncio.create_task(ends.near.wait_for_work(LONG_S))
        await turn()
        assert not waiting.done()
        ends.far.wake()
        await waiting

    async def test_it_ends_after_the_timeout(self, ends: Ends) -> None:
        await ends.near.wait_for_work(SOON_S)
        waiting = asyncio.create_task(ends.near.wait_for_work(LONG_S))
        await turn()
        assert not waiting.done()
        ends.far.wake()
        await waiting

    async def test_a_wake_up_is_not_lost_with_a_waiter_that_gave_up(self, ends: Ends) -> None:
        waiting = asyncio.create_task(ends.near.wait_for_work(LONG_S))
        await turn()
        waiting.cancel()
        await asyncio.wait({waiting})
        ends.far.wake()
        await ends.arrived()
        await ends.near.wait_for_work(LONG_S)


class BusContract(Watching, Waking):
    """All of it. A subclass named Test... gives a fixture `ends`."""
