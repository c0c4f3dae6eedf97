"""The load client, the same for every server: a burst, a WebSocket an order, and arrivals at times fixed beforehand."""

import asyncio
import json
import random
import resource
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from bench.load import Connection

Count: TypeAlias = Callable[[], Awaitable[Counter[str]]]

_ENDS = frozenset({"confirmed", "failed", "canceled", "expired"})
_PATH = "/api/orders/execute"
_PAIRS = (("SOL", "USDC", 1), ("USDC", "SOL", 150), ("USDC", "USDT", 150), ("USDT", "USDC", 150))
_POLL_S = 0.02
_PATIENCE_S = 30.0
"""Without any order ending for so long, the rest counts as lost."""
_POSTING = 64
"""Keep-alive connections for the POSTs of the open loop."""


@dataclass
class Run:
    """What one run measured. Seconds."""

    posts: list[float] = field(default_factory=list)
    """POST sent to answer read; in the open loop from the time at which it was due."""
    confirmations: list[float] = field(default_factory=list)
    """From there to the event that ends the order."""
    ended: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """By HTTP status and what the answer says."""
    elapsed_s: float = 0.0
    late_s: list[float] = field(default_factory=list)
    """How much later than planned the client began: its own fault, not the server's."""
    client_s: float = 0.0
    """The client's CPU time."""


class _Line(Connection):
    """A connection that also says good-bye."""

    def leave(self) -> None:
        """Close the WebSocket from our side."""
        if self._writer is not None:
            self._writer.write(b"\x88\x80\0\0\0\0")
        self.close()


def bodies(orders: int, seed: int = 1, terms: Mapping[str, str] = MappingProxyType({})) -> list[bytes]:
    """Market orders that every server under test understands, the same for the same seed; `terms`: more fields."""
    chance, made = random.Random(seed), []
    for index in range(orders):
        token_in, token_out, size = _PAIRS[index % len(_PAIRS)]
        order = {"type": "market", "tokenIn": token_in, "tokenOut": token_out, "userId": f"user{index % 50}"}
        made.append(json.dumps(order | {"amountIn": round(size * chance.uniform(0.5, 1.5), 4)} | dict(terms)).encode())
    return made


async def burst(url: str, orders: list[bytes], connections: int, count: Count) -> Run:
    """POST all orders as fast as the connections allow, then wait until the database says that each has ended."""
    run, queue, before = Run(), iter(orders), await count()

    async def post() -> None:
        line = _Line(url)
        for body in queue:
            await _post(line, body, run, time.perf_counter())
        line.close()

    started = _start(run)
    await asyncio.gather(*(post() for _ in range(connections)))
    run.ended = await _all_ended(count, before, len(orders) - run.refused.total())
    _stop(run, started)
    return run


async def place(url: str, orders: list[bytes], connections: int) -> list[str]:
    """POST all orders; their ids. Raises SystemExit when one is refused."""
    run, queue, order_ids = Run(), iter(orders), list[str]()

    async def post() -> None:
        line = _Line(url)
        for body in queue:
            order_id = await _post(line, body, run, time.perf_counter())
            if order_id is None:
                raise SystemExit(f"an order was not taken: {dict(run.refused)}")
            order_ids.append(order_id)
        line.close()

    await asyncio.gather(*(post() for _ in range(connections)))
    return order_ids


async def streams(url: str, orders: list[bytes], connections: int) -> Run:
    """Each client: POST, open a WebSocket, read it until the order has ended, next order."""
    run, queue = Run(), iter(orders)

    async def client() -> None:
        line = _Line(url)
        for body in queue:
            await _follow(url, line, body, run, time.perf_counter())
        line.close()

    started = _start(run)
    await asyncio.gather(*(client() for _ in range(connections)))
    _stop(run, started)
    return run


async def paced(url: str, orders: list[bytes], rate: float) -> Run:
    """Open loop: one order every 1/rate seconds, with a WebSocket, however long the server takes."""
    run, lines = Run(), [_Line(url) for _ in range(_POSTING)]
    free: asyncio.Queue[_Line] = asyncio.Queue()
    for line in lines:
        await line.open()
        free.put_nowait(line)

    async def one(body: bytes, due: float) -> None:
        run.late_s.append(time.perf_counter() - due)
        line = await free.get()
        order_id = await _post(line, body, run, due)
        free.put_nowait(line)
        await _read(url, order_id, run, due)

    tasks, started = [], _start(run)
    for index, body in enumerate(orders):
        due = started + index / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(body, due)))
    await asyncio.gather(*tasks)
    _stop(run, started)
    for line in lines:
        line.close()
    return run


async def _follow(url: str, line: _Line, body: bytes, run: Run, begun: float) -> None:
    order_id = await _post(line, body, run, begun)
    await _read(url, order_id, run, begun)


async def _post(line: _Line, body: bytes, run: Run, begun: float) -> str | None:
    status, answer = await line.request("POST", _PATH, body)
    run.posts.append(time.perf_counter() - begun)
    if status not in (201, 202):
        run.refused[f"{status} {answer[:80].decode(errors='replace')}"] += 1
        return None
    return str(json.loads(answer)["orderId"])


async def _read(url: str, order_id: str | None, run: Run, begun: float) -> None:
    """Read an order's WebSocket to the order's end."""
    if order_id is None:
        return
    line, status = _Line(url), "no end"
    await line.open()
    await line.upgrade(f"/api/orders/{order_id}/ws")
    while (message := await line.receive()) is not None:
        if (said := json.loads(message)["status"]) in _ENDS:
            status = said
            run.confirmations.append(time.perf_counter() - begun)
            break
    run.ended[status] += 1
    line.leave()


async def _all_ended(count: Count, before: Counter[str], orders: int) -> Counter[str]:
    ended, since = Counter[str](), time.perf_counter()
    while ended.total() < orders:
        await asyncio.sleep(_POLL_S)
        now = await count() - before
        if now != ended:
            ended, since = now, time.perf_counter()
        if time.perf_counter() - since > _PATIENCE_S:
            raise SystemExit(f"only {ended} of {orders} orders have ended")
    return ended


def _start(run: Run) -> float:
    run.client_s = -_own_cpu_s()
    return time.perf_counter()


def _stop(run: Run, started: float) -> None:
    run.elapsed_s = time.perf_counter() - started
    run.client_s += _own_cpu_s()


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
