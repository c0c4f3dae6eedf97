"""What a store takes beside a long history: claims, look-ups and pages at 10 thousand, a million, ten million orders.

The history is made by the database itself; each order has its row, two events and an attempt.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import asyncpg
import msgspec
import uvloop
from tests.support.orders import NOW_MS, Life, attempt, keys, pending

from bench.stores import Clock, described, server, size_bytes
from bestex.orders.events import encode_event
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.store.postgres import PostgresStore

_STEPS = (10_000, 1_000_000, 10_000_000)
_CHUNK = 250_000
_USERS = 1000
_TIMES = 30
_FIRST_MS = NOW_MS - 400 * 86_400_000
_GAP_MS = 3_000
"""From one order to the next: ten million are a year's."""

_FILL = """
WITH made AS MATERIALIZED (
    SELECT n, (lpad(to_hex($3::bigint + n * $9::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
        || substr(md5(n::text), 4, 15))::uuid AS id, CASE n % 50 WHEN 0 THEN 'failed' ELSE 'confirmed' END AS status
    FROM generate_series($1::bigint, $2::bigint) AS n
),
orders AS (
    INSERT INTO ended_orders (id, user_id, status, document)
    SELECT id, 'user' || n % $4::bigint, status, replace($5::text, $8::text, id::text) FROM made
),
attempts AS (
    INSERT INTO attempts (order_id, number, state, last_valid_block_height, signature, document)
    SELECT id, 1, 'landed', n / 4000, md5(n::text) || md5((-n)::text), replace($6::text, $8::text, id::text) FROM made
)
INSERT INTO order_events (order_id, seq, status, final, payload)
SELECT id, seq, status, seq = 2, replace($7::text, $8::text, id::text) FROM made, generate_series(1, 2) AS seq
"""


class TooLong(Exception):
    """A size would take more time than there is."""


class Filler:
    """Makes orders that have ended, as long as a size does not take too long."""

    def __init__(self, dsn: str, most_s: float) -> None:
        """`most_s`: for one size."""
        self.filled = 0
        self._dsn = dsn
        self._most_s = most_s
        self._each_s = 0.0
        """What an order took of late."""
        order, event = pending(0)
        life = Life(order)
        texts = [msgspec.json.encode(each).decode() for each in (life.order, attempt(life.order))]
        self._told = (_FIRST_MS, _USERS, *texts, encode_event(event).decode(), order.id, _GAP_MS)

    async def fill(self, orders: int) -> float:
        """Up to so many; the seconds that it took. Raises TooLong, before it begins or on the way."""
        began_s = time.perf_counter()
        connection = await asyncpg.connect(self._dsn)
        try:
            await connection.execute("SELECT create_event_partitions($1, 14)", _FIRST_MS)
            while self.filled < orders:
                taken_s = time.perf_counter() - began_s
                expected_s = taken_s + self._each_s * (orders - self.filled)
                if expected_s > self._most_s:
                    raise TooLong(
                        f"{orders} orders: stopped at {self.filled}; to fill them would take "
                        f"{expected_s / 60:.1f} min, and --minutes allows {self._most_s / 60:g}"
                    )
                last = min(self.filled + _CHUNK, orders)
                await connection.execute(_FILL, self.filled, last - 1, *self._told)
                self._each_s = (time.perf_counter() - began_s - taken_s) / (last - self.filled)
                self.filled = last
            await connection.execute("ANALYZE")
        finally:
            await connection.close()
        return time.perf_counter() - began_s


async def deep_cursor(dsn: str, depth: int) -> str:
    """The place after an order so far down the history, as a page's `next_cursor` would say it."""
    connection = await asyncpg.connect(dsn)
    found = await connection.fetchval("SELECT id::text FROM ended_orders ORDER BY id DESC OFFSET $1 LIMIT 1", depth)
    await connection.close()
    return urlsafe_b64encode(bytes.fromhex(found.replace("-", ""))).decode().rstrip("=")


async def timed_ms(action: Callable[[], Awaitable[object]]) -> float:
    """The median of some runs."""
    await action()
    taken = []
    for _ in range(_TIMES):
        began_s = time.perf_counter()
        await action()
        taken.append((time.perf_counter() - began_s) * 1000)
    return median(taken)


async def measure(store: PostgresStore, dsn: str, placed: list[Order], depth: int) -> dict[str, float]:
    """Milliseconds of each thing."""
    deep = await deep_cursor(dsn, depth)
    known = (await store.orders(user_id=None, status=None, cursor=deep, limit=1)).orders[0].id
    numbers = iter(range(len(placed), 10**9))

    async def place() -> None:
        number = next(numbers)
        placed.append((await store.accept(*pending(number), keys(client_order_id=str(number)))).order)

    async def claim() -> None:
        await store.claim("bench", limit=1, now_ms=2 * NOW_MS, lease_ms=30_000, rate=None)

    def page(user_id: str | None, status: Status | None, cursor: str | None) -> Callable[[], Awaitable[object]]:
        return lambda: store.orders(user_id=user_id, status=status, cursor=cursor, limit=50)

    return {
        "accept": await timed_ms(place),
        "claim": await timed_ms(claim),
        "order": await timed_ms(lambda: store.order(known)),
        "events": await timed_ms(lambda: store.events(known)),
        "page": await timed_ms(page(None, None, None)),
        "page, deep": await timed_ms(page(None, None, deep)),
        "of a user": await timed_ms(page("user7", None, None)),
        "failed": await timed_ms(page(None, Status.FAILED, None)),
        "failed, deep": await timed_ms(page(None, Status.FAILED, deep)),
        "failed of a user": await timed_ms(page("user50", Status.FAILED, None)),
        "stats": await timed_ms(lambda: store.stats(NOW_MS, 60_000)),
    }


async def _run(folder: Path, most: int, minutes: float) -> None:
    async with server(folder) as dsn:
        store = PostgresStore(dsn, clock=Clock())
        await store.open()
        filler, placed, titles = Filler(dsn, minutes * 60), list[Order](), list[str]()
        try:
            for orders in [*(each for each in _STEPS if each < most), most]:
                took_s = await filler.fill(orders)
                taken = await measure(store, dsn, placed, orders // 2)
                if not titles:
                    titles = ["orders", "fill s", *taken]
                    print(f"milliseconds, median of {_TIMES}\n" + "  ".join(f"{name:>8}" for name in titles))
                cells = [f"{orders}", f"{took_s:.1f}", *(f"{ms:.2f}" for ms in taken.values())]
                print("  ".join(f"{cell:>{max(8, len(name))}}" for cell, name in zip(cells, titles, strict=True)))
                sys.stdout.flush()
        except TooLong as error:
            print(error)
        await store.close()
        used = await asyncio.to_thread(size_bytes, folder)
        if filler.filled:
            print(f"{used / filler.filled / 1024:.1f} KiB an order on disk")


def main(argv: list[str]) -> int:
    """Print the figures; exit code 0, also when some sizes would take too long."""
    parser = argparse.ArgumentParser(prog="python -m bench history", description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000, help="the longest history")
    parser.add_argument("--minutes", type=float, default=10.0, help="the most that one size may take to fill")
    parser.add_argument("--store", choices=["postgres"], default="postgres")
    parser.add_argument("--dir", type=Path, default=None, help="where the database goes; it is removed afterwards")
    options = parser.parse_args(argv)
    print(described(options.store))
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        uvloop.run(_run(Path(folder), options.orders, options.minutes))
    return 0
