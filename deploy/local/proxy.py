"""A network between a server and its users that can be cut, stalled and refused, at any moment and at any bytes."""

import asyncio
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeAlias

from deploy.local.ports import HOST

Target: TypeAlias = tuple[str, int] | Path
"""A host and a port, or a Unix socket."""

_CHUNK = 65_536


class Proxy:
    """Passes connections on from a port of loopback. Use it as an async context manager."""

    def __init__(self, target: Target, port: int = 0) -> None:
        """`port`: 0 for any that is free; the attribute has it then."""
        self.host = HOST
        self.port = port
        self.connections = 0
        """How many have been let through so far."""
        self.met = asyncio.Event()
        """What `cut_at` waits for has come by, and the cut is made."""
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._rule: Callable[[bytes], bool] | None = None
        self._forward = True

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._flows.set()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    def reset(self) -> None:
        """Break all connections, as a crash does; new ones are let through."""
        for writers in self._open.values():
            for writer in writers:
                _break(writer)

    def stall(self) -> None:
        """Nothing gets through, in either direction, until `heal`: neither an answer nor the end of a connection."""
        self._flows.clear()

    def refuse(self) -> None:
        """Break all connections, and all new ones, until `heal`."""
        self._refuses = True
        self.reset()

    def heal(self) -> None:
        """As if nothing had been. What was stalled arrives."""
        self._refuses = False
        self._flows.set()

    def cut_at(self, rule: Callable[[bytes], bool], *, forward: bool) -> None:
        """Once, when a client sends bytes of which `rule` is true: `reset`, before the server has got them.

        With `forward`, the server gets them, and the reset comes when it answers: the answer is lost.
        """
        self.met.clear()
        self._rule, self._forward = rule, forward

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = (writer,)
        try:
            if self._refuses:
                return
            self.connections += 1
            far_reader, far_writer = await self._connect()
            self._open[task] = (writer, far_writer)
            lost = asyncio.Event()
            await asyncio.gather(
                self._pass(reader, far_writer, lambda data: self._lets_ask(data, lost)),
                self._pass(far_reader, writer, lambda _: not lost.is_set()),
            )
        except OSError:
            pass  # down, or reset: both sides are reset below
        finally:
            for each in self._open.pop(task):
                _break(each)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection(*self._target)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lets_through: Callable[[bytes], bool]
    ) -> None:
        """Until one side has gone: the other is then told in the same way, by its end or by a reset."""
        try:
            while data := await reader.read(_CHUNK):
                await self._flows.wait()
                if not lets_through(data):
                    self.met.set()
                    self.reset()
                    return
                if writer.is_closing():  # uvloop's transport would raise
                    return
                writer.write(data)
                await writer.drain()
            await self._flows.wait()
            if not writer.is_closing():
                writer.write_eof()
        except OSError:
            await self._flows.wait()
            raise

    def _lets_ask(self, data: bytes, lost: asyncio.Event) -> bool:
        """Whether the server may get it. `lost` is set if it may, but the client must not get the answer."""
        if self._rule is None or not self._rule(data):
            return True
        self._rule = None
        if self._forward:
            lost.set()
        return self._forward


def _break(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.family != socket.AF_UNIX and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, and no polite end
    writer.transport.abort()
