"""Many WebSockets in a client process of its own: told what to do on standard input, it answers with JSON lines.

Not a benchmark of its own: `bench.websockets` starts it.
"""

import asyncio
import base64
import json
import os
import re
import sys
import time
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import uvloop

STAMP = re.compile(rb'"explanation":"sent (\d+)"')
"""When an event was published: nanoseconds of the machine's monotonic clock, which all processes share."""
_PATIENCE_S = 60.0


@dataclass
class Crowd:
    """All sockets of this process."""

    url: str
    order_ids: list[str]
    arrivals: list[tuple[int, int]] = field(default_factory=list)
    """Of stamped events: published, arrived."""
    closed: int = 0
    """By the server."""
    sockets: list["Socket"] = field(default_factory=list)

    async def open(self, at_once: int) -> dict[str, object]:
        """Open them all, and wait for the first event of each."""
        parts, limit, took = urlsplit(self.url), asyncio.Semaphore(at_once), list[float]()
        host, port = parts.hostname or "", parts.port or 80

        async def one(order_id: str) -> None:
            async with limit:
                began = time.monotonic()
                _, socket = await asyncio.get_running_loop().create_connection(
                    lambda: Socket(self, f"/api/orders/{order_id}/ws"), host, port
                )
                await socket.first
                took.append(time.monotonic() - began)
                self.sockets.append(socket)

        began = time.monotonic()
        done, late = await asyncio.wait(
            [asyncio.create_task(one(each)) for each in self.order_ids], timeout=_PATIENCE_S
        )
        for task in late:
            task.cancel()
        seconds = time.monotonic() - began
        await asyncio.gather(*late, return_exceptions=True)
        failed = [repr(error) for task in done if (error := task.exception()) is not None]
        failed += [f"no event within {_PATIENCE_S:.0f} s" for _ in late]
        return {"seconds": seconds, "took": took, "failed": len(failed), "why": failed[:1]}

    async def storm(self, at_once: int) -> dict[str, object]:
        """Drop them all, and open them again."""
        sockets, self.sockets = self.sockets, []
        for socket in sockets:
            socket.abort()
        return await self.open(at_once)

    async def wait(self, events: int) -> dict[str, object]:
        """Until so many stamped events have arrived since the last time, or none for a while."""
        until = time.monotonic() + _PATIENCE_S
        while len(self.arrivals) < events and time.monotonic() < until:
            await asyncio.sleep(0.01)
        arrivals, self.arrivals = self.arrivals, []
        return {"arrivals": arrivals, "closed": self.closed}


class Socket(asyncio.Protocol):
    """RFC 6455 as far as a reader of a stream needs it."""

    def __init__(self, crowd: Crowd, path: str) -> None:
        self.first = asyncio.get_running_loop().create_future()
        self._crowd = crowd
        self._path = path
        self._data = b""
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._upgraded:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._fail(head.split(b"\r\n")[0].decode())
                return
            self._upgraded, self._data = True, rest
        while (frame := _frame(self._data)) is not None:
            opcode, payload, size = frame
            self._data = self._data[size:]
            self._take(opcode, payload)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(str(error or "closed"))

    def abort(self) -> None:
        self._transport.abort()

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == 9:  # ping
            self._transport.write(bytes([0x8A, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
        elif opcode == 8:
            self._crowd.closed += 1
            self._transport.close()
        elif not self.first.done():
            self.first.set_result(None)
        elif (stamp := STAMP.search(payload)) is not None:
            self._crowd.arrivals.append((int(stamp[1]), time.monotonic_ns()))

    def _fail(self, why: str) -> None:
        if not self.first.done():
            self.first.set_exception(ConnectionError(why))


def _frame(data: bytes) -> tuple[int, bytes, int] | None:
    """The first frame's opcode and payload, and how long it is in all; None: more has to come."""
    if len(data) < 2:
        return None
    length, begin = data[1] & 127, 2
    if length == 126:
        begin, length = 4, int.from_bytes(data[2:4], "big")
    elif length == 127:
        begin, length = 10, int.from_bytes(data[2:10], "big")
    if len(data) < begin + length:
        return None
    return data[0] & 15, data[begin : begin + length], begin + length


async def _main() -> None:
    """The first line: URL and order ids. Then commands and their number, until the input ends."""
    loop = asyncio.get_running_loop()
    url, order_ids = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    crowd = Crowd(url, order_ids)
    commands = {"open": crowd.open, "storm": crowd.storm, "wait": crowd.wait}
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        name, number = line.split()
        print(json.dumps(await commands[name](int(number))), flush=True)


if __name__ == "__main__":
    uvloop.run(_main())
