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
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

_TAIL = re.compile(rb'"seq":(\d+),"status":"(\w+)","at":"([^"]+)"')
"""What every event ends with; the sequence number, the status, and when it happened."""
_WELL = 1000
"""The code with which the server closes the stream of an order that has ended."""


@dataclass
class Crowd:
    """All sockets of this process, one for each order."""

    url: str
    order_ids: Sequence[str]
    sockets: dict[str, "Socket"] = field(default_factory=dict)

    async def open(self, from_seq: int, at_once: int, within_s: float) -> dict[str, Any]:
        """Open a socket for each order, and wait for its first event. Those that are open already are dropped."""
        self.close()
        self.sockets = {each: Socket(each, from_seq) for each in self.order_ids}
        parts, turns, took = urlsplit(self.url), asyncio.Semaphore(at_once), list[float]()
        host, port = parts.hostname or "", parts.port or 80

        async def one(socket: Socket) -> None:
            async with turns:
                began_s = time.monotonic()
                await asyncio.get_running_loop().create_connection(lambda: socket, host, port)
                if why := await socket.first:
                    raise ConnectionError(why)
                took.append(time.monotonic() - began_s)

        began_s = time.monotonic()
        tasks = [asyncio.create_task(one(each)) for each in self.sockets.values()]
        done, late = await asyncio.wait(tasks, timeout=within_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        wrong = Counter(str(error) for task in done if (error := task.exception()) is not None)
        wrong["no event in time"] += len(late)
        return {"seconds": time.monotonic() - began_s, "took": took, "wrong": +wrong}

    async def read(self, within_s: float) -> dict[str, Any]:
        """Until every socket has come to its end, or the time is up: what each has got."""
        sockets = self.sockets.values()
        await asyncio.wait([each.ended for each in sockets], timeout=within_s)
        wrong = Counter(each.ended.result() if each.ended.done() else "no end in time" for each in sockets)
        del wrong[""]
        lags = [lag for each in sockets for lag in each.lags_ms]
        return {
            "last": {each.order_id: each.next_seq - 1 for each in sockets},
            "events": sum(each.events for each in sockets),
            "since": min((each.second_s for each in sockets if each.lags_ms), default=0.0),
            "until": max((each.last_s for each in sockets), default=0.0),
            "ended": sum(each.ended.done() and not each.ended.result() for each in sockets),
            "lags": lags,
            "statuses": Counter(each.status for each in sockets),
            "wrong": wrong,
        }

    def close(self) -> None:
        """Go away without a word."""
        for socket in self.sockets.values():
            socket.abort()


class Socket(asyncio.Protocol):
    """RFC 6455 as far as a reader of a stream needs it. Counts what comes, and expects each number in its turn."""

    def __init__(self, order_id: str, from_seq: int) -> None:
        loop = asyncio.get_running_loop()
        self.first: asyncio.Future[str] = loop.create_future()
        """Done with the first event, or with why there is none."""
        self.ended: asyncio.Future[str] = loop.create_future()
        """Done with the stream's end, or with what went wrong."""
        self.order_id = order_id
        self.next_seq = from_seq
        self.events = 0
        self.status = "none"
        """What the last event says."""
        self.second_s = self.last_s = 0.0
        """When the second and the last event came; Unix time."""
        self.lags_ms: list[float] = []
        """Of each event but the first: from when it happened to its receipt."""
        self._data = b""
        self._upgraded = False
        self._gap = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /api/orders/{self.order_id}/ws?fromSeq={self.next_seq} HTTP/1.1\r\nHost: bench\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._upgraded:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._end(head.split(b"\r\n")[0].decode())
                return
            self._upgraded, self._data = True, rest
        while (frame := _frame(self._data)) is not None:
            opcode, payload, size = frame
            self._data = self._data[size:]
            self._take(opcode, payload)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(f"lost: {error or 'closed without a word'}")

    def abort(self) -> None:
        """Go away without a word."""
        if hasattr(self, "_transport"):
            self._transport.abort()

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == 9:  # ping
            self._transport.write(bytes([0x8A, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
        elif opcode == 8:
            code = int.from_bytes(payload[:2], "big")
            # The number in the reason is each socket's own: without it, equal faults are counted together.
            reason = payload[2:].decode().partition(";")[0]
            self._end(self._gap if code == _WELL else f"closed with {code} {reason}")
            self._transport.close()
        else:
            self._count(payload)

    def _count(self, payload: bytes) -> None:
        found = _TAIL.search(payload)
        if found is None:
            self._gap = self._gap or "not an event"
            return
        now_s, seq = time.time(), int(found[1])
        if seq != self.next_seq:
            self._gap = self._gap or f"event {seq} instead of {self.next_seq}"
        self.next_seq = seq + 1
        self.events += 1
        self.status = found[2].decode()
        self.last_s = now_s
        if self.first.done():
            self.second_s = self.second_s or now_s
            self.lags_ms.append(round((now_s - datetime.fromisoformat(found[3].decode()).timestamp()) * 1000, 2))
        else:
            self.first.set_result("")

    def _end(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)
        if not self.first.done():
            self.first.set_result(why or "no event")


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
    """The first line: URL and order ids. Then commands with their arguments, until the input ends."""
    loop = asyncio.get_running_loop()
    crowd = Crowd(*json.loads(await loop.run_in_executor(None, sys.stdin.readline)))
    commands: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {"open": crowd.open, "read": crowd.read}
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        name, *arguments = json.loads(line)
        print(json.dumps(await commands[name](*arguments)), flush=True)


if __name__ == "__main__":
    uvloop.run(_main())
