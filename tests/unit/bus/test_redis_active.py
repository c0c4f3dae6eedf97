"""The active orders in Redis: what the events say, whole or refused."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from bestex.bus.redis import RedisBus
from bestex.bus.redis_active import ActiveOrders, OpenOrders
from bestex.errors import BusUnavailable, StoreUnavailable
from bestex.orders.events import Event, encode_event
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.ports import Committed
from bestex.types import OrderId
from tests.support.orders import Life, pending
from tests.support.redis import BINARIES, PREFIX, WAIT_S, RedisProcess, running_node, running_redis

LONG_S = 600.0


@pytest.fixture(params=list(BINARIES.values()), ids=list(BINARIES))
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[RedisProcess]:
    async with running_redis(request.param) as process:
        yield process


@pytest.fixture
async def bus(redis: RedisProcess) -> AsyncIterator[RedisBus]:
    """A node's bus over a Redis that is known to hold all active orders: there are none."""
    async with running_node(redis) as node:
        await node.rebuild(reader())
        yield node


def reader(*orders: Order) -> OpenOrders:
    """The store's answer."""

    async def read() -> Sequence[Order]:
        return orders

    return read


def committed(event: Event, *, final: bool = False) -> Committed:
    return Committed(event.order_id, event.seq, event.status, final, encode_event(event))


async def tell(bus: RedisBus, *events: Committed) -> None:
    """Publish the events as one batch, and wait until Redis has them."""
    bus.publish(events)
    assert await bus.drain(WAIT_S)


async def seen(bus: RedisBus, limit: int = 100) -> list[tuple[OrderId, int, Status]]:
    return [(order.order_id, order.seq, order.status) for order in await bus.active(limit)]


async def test_an_order_is_there_from_its_first_event_to_its_last(bus: RedisBus) -> None:
    order, accepted = pending(1)
    life = Life(order)
    await tell(bus, committed(accepted))
    assert await seen(bus) == [(order.id, 1, Status.PENDING)]
    await tell(bus, committed(life.routed()), committed(life.built()))
    assert await seen(bus) == [(order.id, 3, Status.BUILDING)]
    await tell(bus, committed(life.submitted()), committed(life.confirmed()))
    assert await seen(bus) == [(order.id, 5, Status.CONFIRMED)]
    await tell(bus, committed(life.finalized(), final=True))
    assert await seen(bus) == []


async def test_events_and_the_store_say_the_same(bus: RedisBus) -> None:
    order, accepted = pending(1, client_order_id="mine", priority=3, user_id="bob")
    life = Life(order)
    await tell(bus, committed(accepted), committed(life.routed()))
    by_events = await bus.active(10)
    await bus.rebuild(reader(life.order))
    assert await bus.active(10) == by_events
    requested = by_events[0].requested
    assert (requested.user_id, requested.client_order_id, requested.priority) == ("bob", "mine", 3)
    assert (requested.amount_in, requested.in_amount) == ("1", "1000000000")
    assert (requested.created_at_ms, by_events[0].updated_at_ms) == (order.created_at_ms, life.order.updated_at_ms)


async def test_oldest_first_and_no_more_than_asked_for(bus: RedisBus) -> None:
    made = [pending(number) for number in (3, 1, 4, 2)]
    await tell(bus, *(committed(accepted) for _, accepted in made))
    oldest_first = sorted(order.id for order, _ in made)
    assert [order_id for order_id, _, _ in await seen(bus)] == oldest_first
    assert [order_id for order_id, _, _ in await seen(bus, 2)] == oldest_first[:2]


async def test_events_of_two_nodes_may_come_out_of_sequence(bus: RedisBus) -> None:
    order, accepted = pending(1)
    life = Life(order)
    routed, built = life.routed(), life.built()
    await tell(bus, committed(built))
    await tell(bus, committed(accepted))
    await tell(bus, committed(routed))
    assert await seen(bus) == [(order.id, 3, Status.BUILDING)]


async def test_a_straggler_does_not_bring_an_ended_order_back(bus: RedisBus) -> None:
    order, accepted = pending(1)
    life = Life(order)
    routed = life.routed()
    await tell(bus, committed(accepted), committed(life.failed(), final=True))
    await tell(bus, committed(routed))
    assert await seen(bus) == []
    await bus.rebuild(reader(order))  # the store was read before the order ended
    assert await seen(bus) == []


async def test_an_empty_redis_is_not_believed(redis: RedisProcess) -> None:
    async with running_node(redis) as node:
        _, accepted = pending(1)
        await tell(node, committed(accepted))
        with pytest.raises(BusUnavailable, match="does not have all"):
            await node.active(10)


async def test_a_rebuild_adds_what_is_missing_and_removes_what_has_ended(bus: RedisBus) -> None:
    (ghost, ghost_accepted), (known, known_accepted), (missing, _) = (pending(number) for number in (1, 2, 3))
    await tell(bus, committed(ghost_accepted), committed(known_accepted))
    await bus.rebuild(reader(known, missing))
    assert await seen(bus) == [(known.id, 1, Status.PENDING), (missing.id, 1, Status.PENDING)]
    assert ghost.id < known.id


async def test_a_rebuild_of_many(bus: RedisBus) -> None:
    orders = [pending(number)[0] for number in range(1, 1_203)]
    await bus.rebuild(reader(*orders))
    assert [order_id for order_id, _, _ in await seen(bus, 2_000)] == [order.id for order in orders]
    await bus.rebuild(reader(*orders[1_100:]))
    assert len(await seen(bus, 2_000)) == 102


async def test_what_happens_during_a_rebuild_is_not_undone(bus: RedisBus) -> None:
    """The store is read; then an order comes, one goes on and one ends; then the rebuild writes what it has read."""
    (new, new_accepted), (moving, moving_accepted), (ending, ending_accepted) = (pending(n) for n in (3, 1, 2))
    await tell(bus, committed(moving_accepted), committed(ending_accepted))
    routed, failed = Life(moving).routed(), Life(ending).failed()

    async def read() -> Sequence[Order]:
        await tell(bus, committed(new_accepted), committed(routed), committed(failed, final=True))
        return [moving, ending]

    await bus.rebuild(read)
    assert await seen(bus) == [(moving.id, 2, Status.ROUTING), (new.id, 1, Status.PENDING)]


async def test_a_loss_during_a_rebuild_makes_it_void(bus: RedisBus, redis: RedisProcess) -> None:
    async with running_node(redis, queue_events=1) as other:
        order, accepted = pending(1)

        async def read() -> Sequence[Order]:
            await tell(other, committed(accepted), committed(Life(order).routed()))  # too many: thrown away
            return []

        with pytest.raises(BusUnavailable, match="something was lost"):
            await bus.rebuild(read)
        with pytest.raises(BusUnavailable):
            await bus.active(10)
        await bus.rebuild(reader(order))
        assert await seen(bus) == [(order.id, 1, Status.PENDING)]


async def test_one_node_rebuilds_and_only_when_it_is_due(redis: RedisProcess) -> None:
    made = [ActiveOrders(redis.reach(), prefix=PREFIX, rebuild_s=LONG_S) for _ in range(2)]
    done = await asyncio.gather(*(each.rebuild_if_due(reader()) for each in made))
    assert sorted(done) == [False, True]
    assert not await made[0].rebuild_if_due(reader())
    await made[0]._link.call(made[0].invalidate())
    assert await made[1].rebuild_if_due(reader())
    for each in made:
        await each.close()


async def test_the_copy_is_made_anew_from_time_to_time(redis: RedisProcess) -> None:
    active = ActiveOrders(redis.reach(), prefix=PREFIX, rebuild_s=0.05)
    assert await active.rebuild_if_due(reader())
    async with asyncio.timeout(WAIT_S):
        while not await active.rebuild_if_due(reader()):
            await active.read(1)  # it is believed until then
    await active.close()


async def test_a_store_that_cannot_be_read_leaves_the_work_to_the_next(redis: RedisProcess) -> None:
    active = ActiveOrders(redis.reach(), prefix=PREFIX, rebuild_s=LONG_S)

    async def read() -> Sequence[Order]:
        raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        await active.rebuild_if_due(read)
    assert await active.rebuild_if_due(reader())
    await active.close()


async def test_an_event_that_cannot_be_read_makes_the_copy_doubtful(bus: RedisBus) -> None:
    await tell(bus, Committed(OrderId("a"), 2, Status.ROUTING, False, b"{}"))
    with pytest.raises(BusUnavailable):
        await bus.active(10)


async def test_what_another_version_wrote_is_refused(bus: RedisBus) -> None:
    _, accepted = pending(1)
    await tell(bus, committed(accepted))
    await bus._active._link.ask("HSET", f"{PREFIX}active:order:{accepted.order_id}", "status", "sleeping")
    with pytest.raises(BusUnavailable, match="cannot be read"):
        await bus.active(10)


async def test_a_full_redis_carries_events_and_admits_its_gaps() -> None:
    async with (
        running_redis(BINARIES["valkey"], "--maxmemory-policy", "noeviction") as redis,
        running_node(redis) as near,
        running_node(redis) as far,
    ):
        await near.rebuild(reader())
        subscription = near.subscribe(pending(1)[0].id)
        await near._active._link.ask("CONFIG", "SET", "maxmemory", "1")
        for number in (1, 2):
            _, accepted = pending(number)
            await tell(far, committed(accepted))
        event = await subscription.next()
        assert event is not None
        assert event.seq == 1
        with pytest.raises(BusUnavailable):
            await near.active(10)
