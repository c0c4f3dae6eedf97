"""What is particular to the bus inside one process: it holds on to nothing."""

import asyncio
import gc
import weakref

from bestex.bus.local import LocalBus
from bestex.types import OrderId
from tests.contract.bus_contract import events

A = OrderId("a")


def test_it_is_made_without_an_event_loop_and_serves_any() -> None:
    bus = LocalBus(buffer_events=1)

    async def use() -> None:
        subscription = bus.subscribe(A)
        bus.publish(events(A, 1))
        assert await subscription.next() is not None
        subscription.close()
        await bus.wait_for_work(0.001)

    asyncio.run(use())
    asyncio.run(use())


async def test_a_closed_subscription_is_forgotten() -> None:
    bus = LocalBus(buffer_events=1)
    subscription = bus.subscribe(A)
    gone = weakref.ref(subscription)
    subscription.close()
    del subscription
    gc.collect()
    assert gone() is None


async def test_a_subscription_that_overflowed_is_forgotten() -> None:
    bus = LocalBus(buffer_events=1)
    subscription = bus.subscribe(A)
    bus.publish(events(A, 1, 2, 3))
    gone = weakref.ref(subscription)
    assert subscription.overflowed
    del subscription
    gc.collect()
    assert gone() is None


async def test_a_subscription_may_be_closed_while_events_are_handed_out() -> None:
    bus = LocalBus(buffer_events=1)
    first, second, third = (bus.subscribe(A) for _ in range(3))
    bus.publish(events(A, 1))
    assert await second.next() is not None
    bus.publish(events(A, 2))  # overflows the first and the third, which leave the list that is gone through
    assert (first.overflowed, second.overflowed, third.overflowed) == (True, False, True)
    assert await second.next() is not None
