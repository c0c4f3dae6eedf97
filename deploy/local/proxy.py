"""A network between a server and those who use it, which can be cut, stalled and refused."""

import asyncio
from typing import Self

from deploy.local.ports import HOST

_CHUNK = 65_536


class Proxy:
    """Passes TCP connections on to a port of loopback."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._flows.set()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def connections(self) -> int:
        return len(self._open)

    def reset(self) -> None:
        """Break all connections; new ones are let through."""
        for writers in self._open.values():
            for writer in writers:
                writer.transport.abort()

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

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = (writer,)
        try:
            if self._refuses:
                writer.transport.abort()
                return
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
            self._open[task] = (writer, far_writer)
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        except OSError:
            pass  # down, or reset: both sides are reset below
        finally:
            for each in self._open.pop(task):
                each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until one side has gone: the other is then told in the same way, by its end or by a reset."""
        try:
            while data := await reader.read(_CHUNK):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
            await self._flows.wait()
            writer.write_eof()
        except OSError:
            await self._flows.wait()
            raise
