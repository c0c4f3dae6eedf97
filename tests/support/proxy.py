"""A network between a client and a server that can be cut, stalled and reset, at any moment and at any bytes."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

Target: TypeAlias = tuple[str, int] | Path
"""A host and a port, or a unix socket."""
Rule: TypeAlias = Callable[[bytes], bool]

_CHUNK_BYTES = 65536


class Proxy:
    """Passes bytes on, both ways, until it is told something else."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._passing = asyncio.Event()
        self._passing.set()
        self._refusing = False
        self._rule: Rule | None = None
        self._forward = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.host = "127.0.0.1"
        self.port = 0
        self.connections = 0
        """How many there have been."""
        self.met = asyncio.Event()
        """What `cut_at` waits for has come by."""

    def stall(self) -> None:
        """Keep all bytes back, and the connections open."""
        self._passing.clear()

    def resume(self) -> None:
        """Pass on what was kept back, and take connections."""
        self._refusing = False
        self._passing.set()

    def cut(self) -> None:
        """End all connections, and take no more until `resume`."""
        self._refusing = True
        self.reset()

    def reset(self) -> None:
        """End all connections at once, as a crash does; new ones are taken."""
        for writer in tuple(self._writers):
            raw = writer.get_extra_info("socket")
            if raw is not None and raw.family != socket.AF_UNIX:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def cut_at(self, rule: Rule, *, forward: bool) -> None:
        """Once, when the client sends bytes of which `rule` is true: cut, having passed them on to the server or not.

        With `forward`, the cut comes when the server has answered; the answer is lost.
        """
        self.met.clear()
        self._rule, self._forward = rule, forward

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        self.connections += 1
        self._writers.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            answers, there = await self._connect()
            self._writers.add(there)
            lost = asyncio.Event()
            ways = self._requests(reader, there, lost), self._answers(answers, writer, lost)
            await asyncio.wait([self._task(way) for way in ways], return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the server is not there: the client sees the end of its connection
        finally:
            for each in (writer, there):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection(*self._target)

    async def _requests(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await self._passing.wait()
            if self._rule is not None and self._rule(data):
                self._rule = None
                if not self._forward:
                    self.met.set()
                    self.reset()
                    return
                lost.set()
            there.write(data)
            await there.drain()

    async def _answers(self, answers: asyncio.StreamReader, back: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        while data := await answers.read(_CHUNK_BYTES):
            await self._passing.wait()
            if lost.is_set():
                self.met.set()
                self.reset()
                return
            back.write(data)
            await back.drain()

    def _task(self, way: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def quietly() -> None:
            with suppress(OSError):  # one of the two ended the connection: so does the proxy, towards the other
                await way

        task = asyncio.get_running_loop().create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


@asynccontextmanager
async def tcp_proxy(target: Target) -> AsyncIterator[Proxy]:
    """A proxy on a free port of loopback."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy._serve, proxy.host, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        for task in tuple(proxy._tasks):
            task.cancel()
        await asyncio.gather(*proxy._tasks, return_exceptions=True)
