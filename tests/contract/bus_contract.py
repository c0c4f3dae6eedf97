"""What every Bus must do, however it carries the news. `test_local_bus.py` holds one against it."""

import asyncio

import pytest

from bestex.orders.status import Status
from bestex.ports import Bus, Committed
from bestex.types import OrderId

A, B = OrderId("a"), OrderId("b")
SOON_S = 0.001
"""A timeout that is meant to pass."""
LONG_S = 60.0
"""A timeout that is not."""


def event(order_id: OrderId, seq: int) -> Committed:
    return Committed(order_id, seq, Status.PENDING, False, b"{}")


def events(order_id: OrderId, *seqs: int) -> list[Committed]:
    return [event(order_id, seq) for seq in seqs]


async def turn() -> None:
    """Let everybody else go on as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


class Watching:
    async def test_events_come_in_order(self, bus: Bus) -> None:
        subscription = bus.subscribe(A)
        bus.publish(events(A, 1, 2))
        bus.publish(events(A, 3))
        assert [await subscription.next() for _ in range(3)] == events(A, 1, 2, 3)

    async def test_only_of_the_order_that_is_watched(self, bus: Bus) -> None:
        subscription = bus.subscribe(A)
        bus.publish([event(B, 1), event(A, 1), event(B, 2)])
        bus.publish(events(A, 2))
        assert [await subscription.next() for _ in range(2)] == events(A, 1, 2)

    async def test_every_watcher_gets_all(self, bus: Bus) -> None:
        both = [bus.subscribe(A), bus.subscribe(A)]
        bus.publish(events(A, 1, 2))
        for subscription in both:
            assert [await subscription.next() for _ in range(2)] == events(A, 1, 2)

    async def test_only_from_the_moment_of_subscribing(self, bus: Bus) -> None:
        bus.publish(events(A, 1))
        subscription = bus.subscribe(A)
        bus.publish(events(A, 2))
        assert await subscription.next() == event(A, 2)

    async def test_a_reader_that_waits_is_woken(self, bus: Bus) -> None:
        subscription = bus.subscribe(A)
        reading = asyncio.create_task(subscription.next())
        await turn()
        assert not reading.done()
        bus.publish(events(A, 1))
        assert await reading == event(A, 1)

    async def test_a_reader_that_gave_up_loses_nothing(self, bus: Bus) -> None:
        subscription = bus.subscribe(A)
        reading = asyncio.create_task(subscription.next())
        await turn()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        bus.publish(events(A, 1))
        assert await subscription.next() == event(A, 1)

    async def test_a_closed_subscription_ends(self, bus: Bus) -> None:
        subscription = bus.subscribe(A)
        bus.publish(events(A, 1))
        subscription.close()
        bus.publish(events(A, 2))
        assert await subscription.next() is None
        assert not subscription.overflowed
        subscription.close()

    async def test_closing_wakes_a_reader_that_waits(self, bus: Bus) -> None:
        subscription = bus.subscribe(A)
        reading = asyncio.create_task(subscription.next())
        await turn()
        subscription.close()
        assert await reading is None

    async def test_closing_one_leaves_the_other(self, bus: Bus) -> None:
        one, other = bus.subscribe(A), bus.subscribe(A)
        one.close()
        bus.publish(events(A, 1))
        assert await other.next() == event(A, 1)

    async def test_a_slow_reader_is_cut_off(self, bus: Bus) -> None:
        """The contract's buses hold four events."""
        subscription, quick = bus.subscribe(A), bus.subscribe(A)
        for seq in range(1, 8):
            bus.publish(events(A, seq))
            assert await quick.next() == event(A, seq)
        assert subscription.overflowed
        assert not quick.overflowed
        assert [await subscription.next() for _ in range(5)] == [*events(A, 1, 2, 3, 4), None]

    async def test_after_an_overflow_there_is_no_gap(self, bus: Bus) -> None:
        subscription = bus.subscribe(A)
        bus.publish(events(A, 1, 2, 3, 4, 5))
        assert await subscription.next() == event(A, 1)
        bus.publish(events(A, 6))  # there is room again, but 5 is lost
        assert [await subscription.next() for _ in range(4)] == [*events(A, 2, 3, 4), None]

    async def test_a_full_buffer_is_no_overflow(self, bus: Bus) -> None:
        subscription = bus.subscribe(A)
        bus.publish(events(A, 1, 2, 3, 4))
        assert not subscription.overflowed


class Waking:
    async def test_who_waits_is_woken(self, bus: Bus) -> None:
        waiting = asyncio.create_task(bus.wait_for_work(LONG_S))
        await turn()
        assert not waiting.done()
        bus.wake()
        await waiting

    async def test_all_who_wait_are_woken(self, bus: Bus) -> None:
        waiting = [asyncio.create_task(bus.wait_for_work(LONG_S)) for _ in range(3)]
        await turn()
        bus.wake()
        await asyncio.gather(*waiting)

    async def test_a_wake_up_before_the_call_is_not_lost(self, bus: Bus) -> None:
        bus.wake()
        await bus.wait_for_work(LONG_S)

    async def test_a_wake_up_counts_once(self, bus: Bus) -> None:
        bus.wake()
        bus.wake()
        await bus.wait_for_work(LONG_S)
        waiting = asyncio.create_task(bus.wait_for_work(LONG_S))
        await turn()
        assert not waiting.done()
        bus.wake()
        await waiting

    async def test_it_ends_after_the_timeout(self, bus: Bus) -> None:
        await bus.wait_for_work(SOON_S)
        waiting = asyncio.create_task(bus.wait_for_work(LONG_S))
        await turn()
        assert not waiting.done()
        bus.wake()
        await waiting

    async def test_a_wake_up_is_not_lost_with_a_waiter_that_gave_up(self, bus: Bus) -> None:
        waiting = asyncio.create_task(bus.wait_for_work(LONG_S))
        await turn()
        waiting.cancel()
        await asyncio.wait({waiting})
        bus.wake()
        await bus.wait_for_work(LONG_S)


class BusContract(Watching, Waking):
    """All of it. A subclass named Test... gives a fixture `bus` whose subscriptions hold four events."""
