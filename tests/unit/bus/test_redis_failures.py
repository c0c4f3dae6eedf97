"""Redis gone, restarted empty, frozen, or full of rubbish: the bus goes on, and whoever watches misses nothing."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bestex.bus.redis import RedisBus
from bestex.bus.redis_wire import NODE_BYTES, decode_message, encode_message
from bestex.orders.events import Event
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.ports import Store
from bestex.store.sqlite import SqliteStore
from bestex.types import OrderId
from tests.contract.bus_contract import A, B, event, events
from tests.support.orders import Life, keys, pending
from tests.support.redis import PREFIX, WAIT_S, RedisProcess, running_node, running_redis, until
from tests.support.sqlite import opened

LATER_MS = 2_000_000_000_000


class Follower:
    """Reads an order's events as a status stream does: what the bus does not bring, the store has."""

    def __init__(self, bus: RedisBus, store: Store, order_id: OrderId) -> None:
        self.seqs: list[int] = []
        self.healed = 0
        self._task = asyncio.create_task(self._follow(bus, store, order_id))

    async def ended(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self._task

    async def _follow(self, bus: RedisBus, store: Store, order_id: OrderId) -> None:
        while True:
            subscription = bus.subscribe(order_id)
            for stored in await store.events(order_id, len(self.seqs) + 1):
                self.seqs.append(stored.seq)
                if stored.final:
                    return
            while (news := await subscription.next()) is not None:
                assert news.order_id == order_id
                assert news.seq <= len(self.seqs) + 1
                if news.seq == len(self.seqs) + 1:
                    self.seqs.append(news.seq)
                if news.final:
                    return
            assert subscription.lost
            self.healed += 1


class Working:
    """A worker's hold on one order."""

    def __init__(self, store: SqliteStore, life: Life) -> None:
        self.id = life.order.id
        self._store = store
        self._life = life

    async def step(self, name: str) -> None:
        made: Event = getattr(self._life, name)()
        await self._store.record(self._life.change(made))


async def begin(store: SqliteStore) -> Working:
    order, accepted = pending(1)
    await store.accept(order, accepted, keys())
    claims = await store.claim("w", limit=1, now_ms=LATER_MS, lease_ms=60_000, rate=None)
    return Working(store, Life(claims.claims[0].order))


@asynccontextmanager
async def deployment(folder: Path) -> AsyncIterator[tuple[RedisProcess, SqliteStore, RedisBus, RedisBus]]:
    """A store, a node that works on orders and tells of it, and a node that watches."""
    async with opened(folder) as store, running_redis() as redis:

        async def open_orders() -> list[Order]:
            return await store.active(1_000_000)

        async with running_node(redis, open_orders=open_orders) as works, running_node(redis) as watches:
            store.on_commit(works.publish)
            yield redis, store, works, watches


async def active_ids(bus: RedisBus) -> list[OrderId]:
    """As soon as Redis has them."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if (orders := await bus.active(10)) is not None:
                return [order.id for order in orders]
            await asyncio.sleep(0.01)


async def test_a_node_sees_an_order_that_another_works_on(tmp_path: Path) -> None:
    async with deployment(tmp_path) as (_, store, works, watches):
        work = await begin(store)
        follower = Follower(watches, store, work.id)
        assert await active_ids(watches) == [work.id]
        for name in ("routed", "built", "submitted", "confirmed"):
            await work.step(name)
        await work.step("finalized")
        await follower.ended()
        assert follower.seqs == [1, 2, 3, 4, 5, 6]
        assert follower.healed == 0
        assert await works.drain(WAIT_S)
        assert await active_ids(watches) == []


async def test_a_server_that_restarts_empty(tmp_path: Path) -> None:
    async with deployment(tmp_path) as (redis, store, works, watches):
        work = await begin(store)
        follower = Follower(watches, store, work.id)
        await work.step("routed")
        await until(lambda: follower.seqs == [1, 2])
        assert works.subscribe(work.id).whole
        await redis.kill()
        await work.step("built")  # nobody hears of it
        await until(lambda: not watches.listening and not works.listening)
        assert not works.subscribe(work.id).whole, "others may be further, and this node would not hear of it"
        assert await watches.active(10) is None
        await redis.start()
        await until(lambda: follower.seqs == [1, 2, 3])
        assert follower.healed >= 1
        assert await active_ids(watches) == [work.id]
        assert await watches.active(10) == [await store.order(work.id)]
        for name in ("submitted", "confirmed", "finalized"):
            await work.step(name)
        await follower.ended()
        assert follower.seqs == [1, 2, 3, 4, 5, 6]
        assert works.thrown_away >= 1


async def test_a_frozen_server_holds_nobody_up(tmp_path: Path) -> None:
    async with deployment(tmp_path) as (redis, store, works, watches):
        work = await begin(store)
        follower = Follower(watches, store, work.id)
        await until(lambda: follower.seqs == [1])
        assert await works.drain(WAIT_S)
        redis.freeze()
        local = works.subscribe(work.id)
        await work.step("routed")
        assert local.whole  # the first event is in it
        heard = await local.next() and await local.next()  # the node itself needs no Redis
        assert heard is not None
        assert heard.seq == 2
        await until(lambda: works.thrown_away >= 1)
        redis.thaw()
        await until(lambda: follower.seqs == [1, 2])
        assert await active_ids(watches) == [work.id]


async def test_to_publish_never_blocks_and_never_hoards() -> None:
    async with running_redis() as redis, running_node(redis, queue_events=1_000) as bus:
        redis.freeze()
        batch = events(A, *range(1, 11))
        slowest_s, most = 0.0, 0
        for number in range(20_000):
            began_s = time.perf_counter()
            bus.publish(batch)
            slowest_s = max(slowest_s, time.perf_counter() - began_s)
            most = max(most, bus.queued)
            if number % 100 == 0:
                await asyncio.sleep(0)
        assert most <= 1_000
        assert slowest_s < 0.25  # a blocked call would take the timeout, again and again
        assert bus.thrown_away >= 190_000
        assert not await bus.drain(0.01)
        redis.thaw()
        assert await bus.drain(WAIT_S)
        assert bus.queued == 0


async def test_wake_ups_reach_the_other_node_and_a_restart_wakes_too() -> None:
    async with running_redis() as redis, running_node(redis) as one, running_node(redis) as other:
        for _ in range(2):
            waiting = asyncio.create_task(other.wait_for_work(60.0))
            await asyncio.sleep(0)
            one.wake()
            async with asyncio.timeout(WAIT_S):
                await waiting
        waiting = asyncio.create_task(other.wait_for_work(60.0))
        await redis.kill()
        await redis.start()
        async with asyncio.timeout(WAIT_S):
            await waiting


async def test_a_slow_reader_harms_nobody() -> None:
    async with running_redis() as redis, running_node(redis) as near, running_node(redis) as far:
        slow, quick, other = near.subscribe(A), near.subscribe(A), near.subscribe(B)
        async with asyncio.timeout(WAIT_S):
            for seq in range(1, 101):
                far.publish([event(A, seq), event(B, seq)])
                assert await quick.next() == event(A, seq)
                assert await other.next() == event(B, seq)
        assert slow.overflowed
        assert [await slow.next() for _ in range(5)] == [*events(A, 1, 2, 3, 4), None]


async def test_what_a_node_throws_away_is_said_to_those_who_watch() -> None:
    async with running_redis() as redis, running_node(redis) as near, running_node(redis, queue_events=3) as far:
        subscription = near.subscribe(A)
        far.publish(events(A, 1, 2, 3, 4))
        async with asyncio.timeout(WAIT_S):
            assert await subscription.next() is None
        assert subscription.lost
        again = near.subscribe(A)
        far.publish(events(A, 5))
        async with asyncio.timeout(WAIT_S):
            assert await again.next() == event(A, 5)


async def test_rubbish_on_the_channel_is_a_loss_and_no_end() -> None:
    async with running_redis() as redis, running_node(redis) as near, running_node(redis) as far:
        subscription = near.subscribe(A)
        await far._link.call(("PUBLISH", f"{PREFIX}events", b"rubbish, but long enough"))
        async with asyncio.timeout(WAIT_S):
            assert await subscription.next() is None
        assert subscription.lost
        again = near.subscribe(A)
        far.publish(events(A, 1))
        async with asyncio.timeout(WAIT_S):
            assert await again.next() == event(A, 1)


async def test_deployments_on_one_server_do_not_hear_each_other() -> None:
    async with running_redis() as redis, running_node(redis) as one, running_node(redis) as same:
        stranger = RedisBus(redis.reach(), prefix="another:", buffer_events=4)
        running = asyncio.create_task(stranger.run())
        heard, unheard = same.subscribe(A), one.subscribe(A)
        stranger.publish(events(A, 7))
        assert await stranger.drain(WAIT_S)
        one.publish(events(A, 1))
        async with asyncio.timeout(WAIT_S):
            assert await heard.next() == event(A, 1)
            assert await unheard.next() == event(A, 1)
        running.cancel()
        await asyncio.wait({running})


async def test_without_redis_it_is_the_bus_of_one_process() -> None:
    async with running_redis() as redis:
        await redis.kill()
        bus = RedisBus(redis.reach(), prefix=PREFIX, buffer_events=4)
        running = asyncio.create_task(bus.run())
        subscription = bus.subscribe(A)
        bus.publish(events(A, 1))
        bus.wake()
        await bus.wait_for_work(60.0)
        assert await subscription.next() == event(A, 1)
        await until(lambda: bus.thrown_away == 1)
        assert not running.done()
        bus.close()
        assert await subscription.next() is None
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()


def test_a_message_of_a_later_version_can_be_read() -> None:
    data = encode_message(b"n" * NODE_BYTES, [events(A, 1), events(B, 2)], wake=True, lost=False)
    message = decode_message(data)
    assert (message.events, message.wake, message.lost) == ([event(A, 1), event(B, 2)], True, False)
    later = b"n" * NODE_BYTES + b"\x82\xa6urgent\xc3\xa4wake\xc3"
    assert decode_message(later).wake
    assert message.events[0].status is Status.PENDING
