"""The active orders in Redis: what the events say, whole or refused."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from bestex.bus.redis import RedisBus
from bestex.bus.redis_active import ActiveOrders, OpenOrders
from bestex.bus.redis_link import RedisServer
from bestex.errors import BusUnavailable, StoreUnavailable
from bestex.orders.events import Event, encode_event
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.ports import Committed
from bestex.runtime import SystemClock, SystemEntropy
from bestex.types import OrderId
from tests.support.orders import Life, pending
from tests.support.redis import BINARIES, PREFIX, WAIT_S, RedisProcess, running_node, running_redis

LONG_S = 600.0


class Stepping(SystemClock):
    """The machine's time, of which more can pass."""

    passed_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.passed_s


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


def committed(life: Life, event: Event) -> Committed:
    """The event as a store publishes it when it is the last of its change."""
    order = life.order
    assert order.seq == event.seq
    return Committed(order.id, event.seq, event.status, order.is_terminal, encode_event(event), order)


def accepted(number: int, **of_terms: Any) -> tuple[Life, Committed]:
    order, event = pending(number, **of_terms)
    return Life(order), committed(Life(order), event)


def step(life: Life, name: str) -> Committed:
    return committed(life, getattr(life, name)())


async def tell(bus: RedisBus, *events: Committed) -> None:
    """Publish the events as one batch, and wait until Redis has them."""
    bus.publish(events)
    assert await bus.drain(WAIT_S)


async def seen(bus: RedisBus, limit: int = 100) -> list[tuple[OrderId, int, Status]]:
    orders = await bus.active(limit)
    assert orders is not None
    return [(order.id, order.seq, order.status) for order in orders]


async def test_an_order_is_there_from_its_first_event_to_its_last(bus: RedisBus) -> None:
    life, first = accepted(1)
    await tell(bus, first)
    assert await seen(bus) == [(life.order.id, 1, Status.PENDING)]
    await tell(bus, step(life, "routed"), step(life, "built"))
    assert await seen(bus) == [(life.order.id, 3, Status.BUILDING)]
    await tell(bus, step(life, "submitted"), step(life, "confirmed"))
    assert await seen(bus) == [(life.order.id, 5, Status.CONFIRMED)]
    await tell(bus, step(life, "finalized"))
    assert await seen(bus) == []


async def test_it_is_the_whole_order_as_the_store_has_it(bus: RedisBus) -> None:
    life, first = accepted(1, client_order_id="mine", priority=3, user_id="b\u00f6b")
    await tell(bus, first, step(life, "routed"), step(life, "built"), step(life, "submitted"), step(life, "confirmed"))
    assert life.order.fill is not None
    assert await bus.active(10) == [life.order]
    other, _ = accepted(2)
    other.failed()
    retried = msgspec.structs.replace(other.order, status=Status.PENDING, retries=1, lease_epoch=7)
    await bus.rebuild(reader(life.order, retried))
    assert await bus.active(10) == [life.order, retried]


async def test_what_was_published_here_is_in_it_at_once(bus: RedisBus) -> None:
    life, first = accepted(1)
    bus.publish([first])
    assert await seen(bus) == [(life.order.id, 1, Status.PENDING)]
    for name in ("routed", "built", "submitted"):
        bus.publish([step(life, name)])
        assert await seen(bus) == [(life.order.id, life.order.seq, life.order.status)]


async def test_oldest_first_and_no_more_than_asked_for(bus: RedisBus) -> None:
    made = [accepted(number) for number in (3, 1, 4, 2)]
    await tell(bus, *(first for _, first in made))
    oldest_first = sorted(life.order.id for life, _ in made)
    assert [order_id for order_id, _, _ in await seen(bus)] == oldest_first
    assert [order_id for order_id, _, _ in await seen(bus, 2)] == oldest_first[:2]


async def test_events_of_two_nodes_may_come_out_of_sequence(bus: RedisBus) -> None:
    life, first = accepted(1)
    routed, built = step(life, "routed"), step(life, "built")
    for event in (built, first, routed):
        await tell(bus, event)
        assert await seen(bus) == [(life.order.id, 3, Status.BUILDING)]


async def test_a_straggler_does_not_bring_an_ended_order_back(bus: RedisBus) -> None:
    life, first = accepted(1)
    order, routed = life.order, step(life, "routed")
    await tell(bus, first)
    await tell(bus, step(life, "failed"))
    await tell(bus, routed)
    assert await seen(bus) == []
    await bus.rebuild(reader(order))  # the store was read before the order ended
    assert await seen(bus) == []


async def test_a_straggler_does_not_bring_back_what_a_rebuild_has_removed(bus: RedisBus) -> None:
    life, first = accepted(1)
    routed = step(life, "routed")
    await tell(bus, first)
    await bus.rebuild(reader())  # its end was never told
    await tell(bus, routed)
    assert await seen(bus) == []


async def test_a_node_that_was_frozen_does_not_write_what_it_had_read_before(redis: RedisProcess) -> None:
    clock = Stepping()
    server = RedisServer(redis.url, clock=clock, entropy=SystemEntropy(), timeout_s=WAIT_S)
    frozen = ActiveOrders(server, prefix=PREFIX, rebuild_s=LONG_S)
    order, _ = pending(1)

    async def read() -> Sequence[Order]:
        clock.passed_s += 3600  # meanwhile the order ended, and Redis has forgotten that it did
        return [order]

    with pytest.raises(BusUnavailable, match="within"):
        await frozen.rebuild_if_due(read)
    assert await frozen._link.ask("ZCARD", f"{PREFIX}open") == 0
    assert await frozen.rebuild_if_due(reader())
    assert await frozen.read(10) == []
    await frozen.close()


async def test_an_empty_redis_is_not_believed(redis: RedisProcess) -> None:
    async with running_node(redis) as node:
        await tell(node, accepted(1)[1])
        assert await node.active(10) is None


async def test_a_rebuild_adds_what_is_missing_and_removes_what_has_ended(bus: RedisBus) -> None:
    (ghost, ghost_first), (known, known_first), (missing, _) = (accepted(number) for number in (1, 2, 3))
    await tell(bus, ghost_first, known_first)
    await bus.rebuild(reader(known.order, missing.order))
    assert await bus.active(10) == [known.order, missing.order]
    assert ghost.order.id < known.order.id


async def test_a_rebuild_of_many(bus: RedisBus) -> None:
    orders = [pending(number)[0] for number in range(1, 1_203)]
    await bus.rebuild(reader(*orders))
    assert [order_id for order_id, _, _ in await seen(bus, 2_000)] == [order.id for order in orders]
    await bus.rebuild(reader(*orders[1_100:]))
    assert len(await seen(bus, 2_000)) == 102


async def test_what_happens_during_a_rebuild_is_not_undone(bus: RedisBus) -> None:
    """The store is read; then an order comes, one goes on and one ends; then the rebuild writes what it has read."""
    (new, new_first), (moving, moving_first), (ending, ending_first) = (accepted(number) for number in (3, 1, 2))
    await tell(bus, moving_first, ending_first)
    found = [moving.order, ending.order]

    async def read() -> Sequence[Order]:
        await tell(bus, new_first, step(moving, "routed"), step(ending, "failed"))
        return found

    await bus.rebuild(read)
    assert await bus.active(10) == [moving.order, new.order]


async def test_a_loss_during_a_rebuild_makes_it_void(bus: RedisBus, redis: RedisProcess) -> None:
    async with running_node(redis, queue_events=1) as other:
        life, first = accepted(1)

        async def read() -> Sequence[Order]:
            await tell(other, first, step(life, "routed"))  # too many: thrown away
            return []

        with pytest.raises(BusUnavailable, match="something was lost"):
            await bus.rebuild(read)
        assert await bus.active(10) is None
        await bus.rebuild(reader(life.order))
        assert await bus.active(10) == [life.order]


async def test_a_node_that_threw_changes_away_asks_the_store_before_redis_knows(redis: RedisProcess) -> None:
    async with running_node(redis, queue_events=1) as bus:
        await bus.rebuild(reader())
        life, first = accepted(1)
        bus.publish([first, step(life, "routed")])
        assert bus.thrown_away == 2
        assert await bus.active(10) is None


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


async def test_an_event_without_its_order_makes_the_copy_doubtful(bus: RedisBus) -> None:
    await tell(bus, Committed(OrderId("a"), 2, Status.ROUTING, False, b"{}"))
    assert await bus.active(10) is None


async def test_other_nodes_are_not_told_the_orders(bus: RedisBus, redis: RedisProcess) -> None:
    async with running_node(redis) as other:
        life, first = accepted(1)
        near, far = bus.subscribe(life.order.id), other.subscribe(life.order.id)
        await tell(bus, first)
        assert await near.next() == first
        assert await far.next() == msgspec.structs.replace(first, order=None)
        sent, received = (bus.messages_sent, bus.events_sent), (other.messages_received, other.events_received)
        assert (sent, received) == ((1, 1), (1, 1))


async def test_what_another_version_wrote_is_refused(bus: RedisBus) -> None:
    life, first = accepted(1)
    await tell(bus, first)
    await bus._active._link.ask("HSET", f"{PREFIX}active:order:{life.order.id}", "order", '{"id":"1"}')
    assert await bus.active(10) is None


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
            await tell(far, accepted(number)[1])
            assert await far.active(10) is None
        event = await subscription.next()
        assert event is not None
        assert event.seq == 1
        assert await near.active(10) is None
