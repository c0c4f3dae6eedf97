"""The connection on which a node hears the others: cut, gone quiet, or met by a fault of our own."""

import asyncio

import pytest

from bestex.bus.redis import RedisBus
from bestex.bus.redis_wire import encode_message
from tests.contract.bus_contract import A, event, events
from tests.support.redis import WAIT_S, running_node, running_redis, until


async def test_a_connection_that_is_cut_is_made_again_and_its_readers_are_told() -> None:
    async with running_redis() as redis, running_node(redis) as near, running_node(redis) as far:
        buffered, waiting = near.subscribe(A), near.subscribe(A)
        far.publish(events(A, 1))
        async with asyncio.timeout(WAIT_S):
            assert await waiting.next() == event(A, 1)
        reading = asyncio.create_task(waiting.next())
        await far._link.call(("CLIENT", "KILL", "TYPE", "pubsub"))
        async with asyncio.timeout(WAIT_S):
            assert await reading is None
            assert [await buffered.next() for _ in range(2)] == [event(A, 1), None]
        assert waiting.lost
        assert buffered.lost
        await until(lambda: near.listening and far.listening)
        assert near.connections == 2
        again = near.subscribe(A)
        far.publish(events(A, 2))
        async with asyncio.timeout(WAIT_S):
            assert await again.next() == event(A, 2)


async def test_a_quiet_connection_stays_and_a_frozen_one_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bestex.bus.redis_listener._HEARTBEAT_S", 0.05)
    async with running_redis() as redis, running_node(redis) as bus:
        subscription = bus.subscribe(A)
        reading = asyncio.create_task(subscription.next())
        await asyncio.wait({reading}, timeout=0.5)  # ten heartbeats
        assert bus.connections == 1
        assert not reading.done()
        redis.freeze()
        await until(lambda: not bus.listening)
        assert not reading.done()
        redis.thaw()
        async with asyncio.timeout(WAIT_S):
            assert await reading is None
        assert subscription.lost
        assert bus.connections >= 2


async def test_a_fault_of_our_own_ends_neither_the_bus_nor_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = iter([ValueError("a fault")])

    def encode(*arguments: object, **named: object) -> bytes:
        for fault in faults:
            raise fault
        return encode_message(*arguments, **named)  # type: ignore[arg-type]  # passed on as they came

    async with running_redis() as redis, running_node(redis) as near, running_node(redis) as far:
        monkeypatch.setattr("bestex.bus.redis.encode_message", encode)
        subscription = near.subscribe(A)
        far.publish(events(A, 1))
        async with asyncio.timeout(WAIT_S):
            assert await subscription.next() is None  # told that something was lost
        assert far.thrown_away == 1


async def test_it_can_be_run_again() -> None:
    async with running_redis() as redis, running_node(redis) as near:
        far = RedisBus(redis.reach(), prefix="test:", buffer_events=4)
        for seq in (1, 2):
            subscription = near.subscribe(A)
            running = asyncio.create_task(far.run())
            far.publish(events(A, seq))
            async with asyncio.timeout(WAIT_S):
                assert await subscription.next() == event(A, seq)
            running.cancel()
            await asyncio.wait({running})
            assert running.cancelled()
            subscription.close()
