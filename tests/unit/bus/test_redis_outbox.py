"""What a node has to tell the others: in order, bounded, and what is thrown away is said."""

import asyncio

from bestex.bus.redis_outbox import Outbox
from bestex.types import OrderId
from tests.contract.bus_contract import events

A = OrderId("a")


async def test_what_waits_together_goes_together_and_in_order() -> None:
    outbox = Outbox(events_max=100)
    outbox.put(events(A, 1, 2))
    outbox.put(events(A, 3))
    outbox.wake()
    parcel = await outbox.take()
    assert parcel.batches == [events(A, 1, 2), events(A, 3)]
    assert (parcel.wake, parcel.lost, parcel.stale) == (True, False, False)


async def test_a_message_has_a_measure_but_no_batch_is_divided() -> None:
    outbox = Outbox(events_max=10_000)
    for _ in range(3):
        outbox.put(events(A, *range(400)))
    outbox.put(events(A, *range(2_000)))
    assert [sum(map(len, (await outbox.take()).batches)) for _ in range(4)] == [400, 400, 400, 2_000]
    assert outbox.queued == 0


async def test_nothing_is_nothing_to_send() -> None:
    outbox = Outbox(events_max=10)
    outbox.put([])
    await outbox.wait_empty()


async def test_too_many_are_thrown_away_and_that_is_said_once() -> None:
    outbox = Outbox(events_max=5)
    outbox.put(events(A, 1, 2, 3))
    outbox.put(events(A, 4, 5, 6))
    assert (outbox.queued, outbox.thrown_away) == (0, 6)
    outbox.put(events(A, 7))
    parcel = await outbox.take()
    assert parcel.batches == [events(A, 7)]
    assert (parcel.lost, parcel.stale) == (True, True)
    outbox.wake()
    assert not (await outbox.take()).lost


async def test_a_parcel_that_did_not_arrive_takes_the_rest_along() -> None:
    outbox = Outbox(events_max=10)
    outbox.put(events(A, 1))
    outbox.wake()
    parcel = await outbox.take()
    outbox.put(events(A, 2, 3))
    outbox.throw_away(parcel)
    assert (outbox.queued, outbox.thrown_away) == (0, 3)
    again = await outbox.take()
    assert again.batches == []
    assert (again.wake, again.lost, again.stale) == (True, True, True)


async def test_a_wake_up_that_did_not_arrive_loses_no_events() -> None:
    outbox = Outbox(events_max=10)
    outbox.wake()
    outbox.throw_away(await outbox.take())
    again = await outbox.take()
    assert (again.wake, again.lost, again.stale) == (True, False, False)


async def test_it_is_empty_when_the_last_is_delivered() -> None:
    outbox = Outbox(events_max=10)
    outbox.put(events(A, 1))
    empty = asyncio.create_task(outbox.wait_empty())
    parcel = await outbox.take()
    outbox.put(events(A, 2))
    outbox.delivered(parcel)
    await asyncio.sleep(0)
    assert not empty.done()
    outbox.delivered(await outbox.take())
    await empty


async def test_who_waits_for_what_is_here_does_not_wait_for_what_comes() -> None:
    outbox = Outbox(events_max=10)
    assert await outbox.wait_sent()
    outbox.put(events(A, 1, 2))
    parcel = await outbox.take()
    sent = asyncio.create_task(outbox.wait_sent())
    await asyncio.sleep(0)
    outbox.put(events(A, 3))
    assert not sent.done()
    outbox.delivered(parcel)
    assert await sent
    later = asyncio.create_task(outbox.wait_sent())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not later.done()
    outbox.delivered(await outbox.take())
    assert await later


async def test_after_a_loss_there_is_doubt_until_the_others_are_told() -> None:
    outbox = Outbox(events_max=2)
    outbox.put(events(A, 1))
    parcel = await outbox.take()
    waiting = asyncio.create_task(outbox.wait_sent())
    await asyncio.sleep(0)
    outbox.throw_away(parcel)
    assert not await waiting
    telling = await outbox.take()
    assert telling.stale
    assert not await outbox.wait_sent(), "it is on its way"
    outbox.put(events(A, 2, 3, 4))
    outbox.delivered(telling)
    assert not await outbox.wait_sent(), "more was lost meanwhile"
    outbox.delivered(await outbox.take())
    assert await outbox.wait_sent()


async def test_refused_changes_are_said_with_the_next_parcel() -> None:
    outbox = Outbox(events_max=10)
    outbox.mark_stale()
    outbox.put(events(A, 1))
    parcel = await outbox.take()
    assert (parcel.lost, parcel.stale) == (False, True)
