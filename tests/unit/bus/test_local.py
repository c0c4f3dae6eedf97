"""What is particular to the bus inside one process: it holds on to nothing."""

import asyncio
import gc
import weakref

from bestex.bus.local import LocalBus, LocalSubscription
from bestex.bus.redis_node import NodeBus
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


async def drained(subscription: LocalSubscription, count: int) -> list[int]:
    return [event.seq for _ in range(count) if (event := await subscription.next()) is not None]


async def test_a_recent_order_is_subscribed_to_from_its_first_event_on() -> None:
    bus = LocalBus(buffer_events=9, recent_orders=2)
    bus.publish(events(A, 1, 2))
    subscription = bus.subscribe(A)
    bus.publish(events(A, 3))
    assert subscription.whole
    assert await drained(subscription, 3) == [1, 2, 3]


async def test_what_is_not_known_from_the_first_event_on_is_not_whole() -> None:
    bus = LocalBus(buffer_events=9, recent_orders=2)
    bus.publish(events(A, 2))
    assert not bus.subscribe(A).whole
    assert not LocalBus(buffer_events=9).subscribe(A).whole


async def test_a_gap_ends_the_memory_of_an_order_for_good() -> None:
    bus = LocalBus(buffer_events=9, recent_orders=2)
    bus.publish(events(A, 1))
    bus.hand_out(events(A, 3))
    bus.hand_out(events(A, 2))
    assert not bus.subscribe(A).whole


async def test_another_process_that_is_faster_than_our_own_news_leaves_no_hole() -> None:
    bus = LocalBus(buffer_events=9, recent_orders=2)
    bus.hand_out(events(A, 2))
    bus.publish(events(A, 1))
    assert not bus.subscribe(A).whole
    bus.hand_out(events(A, 3))
    assert not bus.subscribe(A).whole


async def test_an_event_that_comes_twice_is_remembered_once() -> None:
    bus = LocalBus(buffer_events=9, recent_orders=2)
    bus.publish(events(A, 1, 2))
    bus.hand_out(events(A, 2))
    bus.hand_out(events(A, 3))
    assert await drained(bus.subscribe(A), 3) == [1, 2, 3]


async def test_only_so_many_orders_are_remembered_and_no_more_events_than_fit() -> None:
    bus = LocalBus(buffer_events=2, recent_orders=2)
    b, c = OrderId("b"), OrderId("c")
    for order_id in (A, b, c):
        bus.publish(events(order_id, 1))
    assert [bus.subscribe(order_id).whole for order_id in (A, b, c)] == [False, True, True]
    bus.publish(events(c, 2, 3))
    assert not bus.subscribe(c).whole


async def test_orders_of_other_processes_are_not_taken_for_our_own() -> None:
    bus = NodeBus(buffer_events=9, recent_orders=2)
    bus.hears = True
    bus.hand_out(events(A, 1))
    assert not bus.subscribe(A).whole


async def test_a_node_that_may_have_missed_something_remembers_nothing() -> None:
    bus = NodeBus(buffer_events=9, recent_orders=2)
    bus.publish(events(A, 1))
    assert not bus.subscribe(A).whole, "it hears nobody: others may be further"
    bus.hears = True
    assert bus.subscribe(A).whole
    bus.lose()
    assert not bus.subscribe(A).whole


async def test_wake_ups_of_one_turn_are_one() -> None:
    bus = LocalBus(buffer_events=1)
    waiting = asyncio.create_task(bus.wait_for_work(60))
    await asyncio.sleep(0)
    bus.wake()
    bus.wake()
    await waiting
    again = asyncio.create_task(bus.wait_for_work(60))
    await asyncio.sleep(0)
    assert not again.done(), "who was woken by the first looks after the second"
    bus.wake()
    await again


async def test_a_wake_up_is_kept_while_the_only_waiter_gives_up() -> None:
    bus = LocalBus(buffer_events=1)
    waiting = asyncio.create_task(bus.wait_for_work(60))
    await asyncio.sleep(0)
    waiting.cancel()
    bus.wake()
    await asyncio.wait({waiting})
    await bus.wait_for_work(60)
