"""A real Redis or Valkey of one's own, and nodes of a deployment on it."""

import asyncio
import atexit
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import deploy.local.redis
from deploy.local.guard import Guard

from bestex.bus.redis import RedisBus
from bestex.bus.redis_link import RedisServer
from bestex.runtime import SystemClock, SystemEntropy

WAIT_S = 20.0
"""No test waits longer for anything."""
TIMEOUT_S = 0.3
"""How long the nodes under test wait for Redis."""
PREFIX = "test:"

BINARIES = deploy.local.redis.binaries()
"""Valkey comes with the development dependencies; a Redis is used too where one is installed."""


class RedisProcess(deploy.local.redis.RedisProcess):
    """A server on a Unix socket in a folder of its own, with nothing on disk: each start is an empty one."""

    def reach(self, *, timeout_s: float = TIMEOUT_S) -> RedisServer:
        """The server as the code under test sees it."""
        return RedisServer(self.url, clock=SystemClock(), entropy=SystemEntropy(), timeout_s=timeout_s)


@cache
def _guard() -> Guard:
    """One for all tests of this process."""
    guard = Guard()
    atexit.register(guard.close)
    return guard


@asynccontextmanager
async def running_redis(binary: str = BINARIES["valkey"], *options: str) -> AsyncIterator[RedisProcess]:
    """A server that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bestex-redis-", dir="/tmp") as folder:
        process = RedisProcess(Path(folder), binary=binary, guard=_guard())
        try:
            await process.start(*options)
            yield process
        finally:
            await process.kill()


@asynccontextmanager
async def running_node(redis: RedisProcess, *, buffer_events: int = 4, **settings: Any) -> AsyncIterator[RedisBus]:
    """A node's bus that hears the others, and has no wake-up waiting."""
    bus = RedisBus(redis.reach(), prefix=PREFIX, buffer_events=buffer_events, **settings)
    running = asyncio.create_task(bus.run())
    try:
        async with asyncio.timeout(WAIT_S):
            await bus.wait_listening()
        await bus.wait_for_work(0.001)  # a node that begins to hear looks for work once
        yield bus
    finally:
        bus.close()
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled(), running.exception()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that something in the background brings about."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.005)
