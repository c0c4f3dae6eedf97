"""A load client: keep-alive HTTP/1.1 and RFC 6455 by hand, so that the client costs little beside the server."""

import asyncio
import base64
import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TERMINAL = {"confirmed", "failed", "canceled", "expired"}


@dataclass
class Load:
    """What a run measured. Seconds."""

    posts: list[float] = field(default_factory=list)
    """POST sent to answer read."""
    confirmations: list[float] = field(default_factory=list)
    """POST sent to terminal event read."""
    statuses: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    elapsed: float = 0.0


class Connection:
    """One keep-alive connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port or 80
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        if self._writer is None:
            await self.open()
        assert self._reader is not None
        assert self._writer is not None
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        lower = answer.lower()
        start = lower.index(b"content-length:") + 15
        length = int(lower[start : lower.index(b"\r\n", start)])
        return int(answer[9:12]), await self._reader.readexactly(length)

    async def upgrade(self, path: str) -> None:
        """Turn this very connection into a WebSocket."""
        assert self._reader is not None
        assert self._writer is not None
        key = base64.b64encode(os.urandom(16)).decode()
        self._writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = await self._reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(answer.split(b"\r\n", 1)[0].decode())

    async def receive(self) -> bytes | None:
        """The next text message; None when the server closes."""
        assert self._reader is not None
        while True:
            first, second = await self._reader.readexactly(2)
            length = second & 127
            if length == 126:
                length = int.from_bytes(await self._reader.readexactly(2), "big")
            elif length == 127:
                length = int.from_bytes(await self._reader.readexactly(8), "big")
            data = await self._reader.readexactly(length)
            opcode = first & 15
            if opcode == 1:
                return data
            if opcode == 8:
                return None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._reader = self._writer = None


async def burst(url: str, bodies: list[bytes], connections: int) -> Load:
    """POST all orders as fast as the connections allow, then wait until the server has ended every one."""
    load, queue = Load(), iter(bodies)

    async def client() -> None:
        connection = Connection(url)
        await connection.open()
        for body in queue:
            started = time.perf_counter()
            status, _ = await connection.request("POST", "/api/orders/execute", body)
            load.posts.append(time.perf_counter() - started)
            load.errors += status != 201
        connection.close()

    asking = Connection(url)
    before = await _ended(asking)
    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    while (ended := await _ended(asking) - before).total() < len(bodies):
        await asyncio.sleep(0.02)
    load.elapsed = time.perf_counter() - started
    load.statuses = ended
    asking.close()
    return load


async def _ended(connection: Connection) -> Counter[str]:
    """How many orders of the server have ended how."""
    _, answer = await connection.request("GET", "/api/queue/stats")
    return Counter({name: count for name, count in json.loads(answer).items() if name in TERMINAL})


async def streams(url: str, bodies: list[bytes], connections: int) -> Load:
    """Each client: POST, upgrade the same connection, read all events to the end, next order."""
    load, queue = Load(), iter(bodies)

    async def client() -> None:
        for body in queue:
            connection = Connection(url)
            started = time.perf_counter()
            status, answer = await connection.request("POST", "/api/orders/execute", body)
            load.posts.append(time.perf_counter() - started)
            if status != 201:
                load.errors += 1
                continue
            await connection.upgrade(f"/api/orders/execute?orderId={json.loads(answer)['orderId']}")
            ended = await _read_to_end(connection)
            load.confirmations.append(time.perf_counter() - started)
            load.statuses[ended] += 1
            connection.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    load.elapsed = time.perf_counter() - started
    return load


async def paced(url: str, bodies: list[bytes], rate: float) -> Load:
    """Open loop: one order every 1/rate seconds, a WebSocket each, whatever the server's answers take."""
    load = Load()

    async def one(body: bytes) -> None:
        connection = Connection(url)
        started = time.perf_counter()
        _, answer = await connection.request("POST", "/api/orders/execute", body)
        load.posts.append(time.perf_counter() - started)
        await connection.upgrade(f"/api/orders/execute?orderId={json.loads(answer)['orderId']}")
        ended = await _read_to_end(connection)
        load.confirmations.append(time.perf_counter() - started)
        load.statuses[ended] += 1
        connection.close()

    started = time.perf_counter()
    tasks = []
    for index, body in enumerate(bodies):
        await asyncio.sleep(max(0.0, started + index / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one(body)))
    await asyncio.gather(*tasks)
    load.elapsed = time.perf_counter() - started
    return load


async def _read_to_end(connection: Connection) -> str:
    ended = "no terminal event"
    while (message := await connection.receive()) is not None:
        status = json.loads(message)["status"]
        if status in TERMINAL:
            ended = status
    return ended
