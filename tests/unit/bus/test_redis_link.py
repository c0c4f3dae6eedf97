"""A connection that answers in bounded time or not at all."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from deploy.local.proxy import Proxy
from redis.asyncio.connection import Connection
from redis.exceptions import ResponseError

from bestex.api.server import loop_factory
from bestex.bus.redis_link import Backoff, RedisLink, RedisServer, packed
from bestex.errors import BusUnavailable
from bestex.runtime import SystemClock
from tests.support.clock import VirtualClock
from tests.support.entropy import SeededEntropy
from tests.support.redis import TIMEOUT_S, running_redis, until


def test_the_wait_doubles_up_to_a_bound_with_jitter() -> None:
    clock = VirtualClock()
    backoff = Backoff(clock, SeededEntropy(), max_s=1.0)
    assert backoff.remaining_s == 0
    for ceiling_s in (0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
        backoff.failed()
        assert ceiling_s / 2 <= backoff.remaining_s <= ceiling_s
        clock.advance(backoff.remaining_s)
        assert backoff.remaining_s == 0


def test_it_is_short_again_only_after_a_quiet_time() -> None:
    clock = VirtualClock()
    backoff = Backoff(clock, SeededEntropy(), max_s=1.0)
    for _ in range(6):
        backoff.failed()
        clock.advance(backoff.remaining_s)
    clock.advance(1.9)
    backoff.failed()
    assert backoff.remaining_s >= 0.5
    clock.advance(backoff.remaining_s + 2.1)
    backoff.failed()
    assert backoff.remaining_s <= 0.05


def test_two_nodes_do_not_come_back_in_step() -> None:
    waits = []
    for seed in range(2):
        backoff = Backoff(VirtualClock(), SeededEntropy(seed))
        backoff.failed()
        waits.append(backoff.remaining_s)
    assert waits[0] != waits[1]


@pytest.mark.parametrize("url", ["http://127.0.0.1:6379", "127.0.0.1", ""])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="scheme"):
        RedisServer(url, clock=VirtualClock(), entropy=SeededEntropy(), timeout_s=1.0)


def test_a_connection_that_was_reset_is_no_fault_of_ours() -> None:
    async def ask_after_a_reset() -> None:
        async with running_redis() as redis, Proxy(Path(redis.url.removeprefix("unix://"))) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}"
            server = RedisServer(url, clock=SystemClock(), entropy=SeededEntropy(), timeout_s=TIMEOUT_S)
            link = RedisLink(server)
            assert await link.ask("PING") == b"PONG"
            proxy.reset()
            connection: Any = link._connection
            await until(lambda: connection._reader.exception() is not None)
            with pytest.raises(BusUnavailable, match="does not answer"):
                await link.ask("PING")
            await link.close()

    # In the event loop of the product, which says it in words of its own.
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(ask_after_a_reset())


async def test_replies_come_in_order_and_a_refusal_is_one_of_them() -> None:
    async with running_redis() as redis:
        link = RedisLink(redis.reach())
        replies = await link.call(("SET", "a", "1"), ("INCRBY", "a", "x"), ("GET", "a"))
        assert replies[0] == b"OK"
        assert isinstance(replies[1], ResponseError)
        assert replies[2] == b"1"
        with pytest.raises(BusUnavailable, match="refuses NO-SUCH"):
            await link.ask("NO-SUCH")
        assert await link.ask("GET", "a") == b"1"
        await link.close()


async def test_calls_at_the_same_time_get_their_own_answers() -> None:
    async with running_redis() as redis:
        link = RedisLink(redis.reach(timeout_s=5.0))
        answers = await asyncio.gather(*(link.ask("ECHO", str(number)) for number in range(50)))
        assert answers == [str(number).encode() for number in range(50)]
        await link.close()


async def test_a_frozen_server_costs_one_timeout_and_then_nothing() -> None:
    async with running_redis() as redis:
        link = RedisLink(redis.reach())
        await link.ask("SET", "a", "1")
        redis.freeze()
        began_s = time.monotonic()
        with pytest.raises(BusUnavailable, match="does not answer"):
            await link.ask("GET", "a")
        assert TIMEOUT_S * 0.9 <= time.monotonic() - began_s < TIMEOUT_S + 2
        with pytest.raises(BusUnavailable, match="later"):
            await link.ask("GET", "a")
        redis.thaw()
        await until(lambda: not link.backoff.remaining_s)
        # The late answer to the first question must not be taken for one to the second.
        assert await link.ask("ECHO", "b") == b"b"
        await link.close()


async def test_a_call_that_is_given_up_leaves_no_answer_behind() -> None:
    async with running_redis() as redis:
        link = RedisLink(redis.reach(timeout_s=10.0))
        await link.ask("PING")
        redis.freeze()
        call = asyncio.create_task(link.ask("ECHO", "a"))
        for _ in range(20):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait({call})
        redis.thaw()
        assert await link.ask("ECHO", "b") == b"b"
        await link.close()


async def test_without_a_server_it_says_so() -> None:
    async with running_redis() as redis:
        await redis.kill()
        link = RedisLink(redis.reach())
        with pytest.raises(BusUnavailable):
            await link.ask("PING")
        await link.close()


def test_commands_are_packed_as_the_library_packs_them() -> None:
    commands = [("SET", "käy", b"\r\n\x00", -7), ("EVAL", "x" * 7_000, 0), ("PUBLISH", "events", b"")]
    assert packed(commands) == b"".join(Connection().pack_commands(commands))
