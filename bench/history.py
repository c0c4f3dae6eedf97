"""What a store takes beside a long history: claims, look-ups and pages at 10 thousand, a million, ten million orders.

The history is made by the database itself; each order has its row, two events and an attempt. A second server with the
shortest history is measured in turns with the first, so that the ratio holds on a machine that others use as well.
"""

import argparse
import asyncio
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TypeAlias

import asyncpg
import msgspec
import uvloop
from tests.support.orders import NOW_MS, Life, attempt, keys, pending

from bench.stores import Clock, described, server, size_bytes
from bestex.orders.events import encode_event
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


Action: TypeAlias = Callable[[], Awaitable[object]]


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


async def timed_ms(actions: Sequence[Action]) -> list[float]:
    """The medians of some runs of each, in turns."""
    taken: list[list[float]] = [[] for _ in actions]
    for number in range(_TIMES + 1):
        for action, times in zip(actions, taken, strict=True):
            began_s = time.perf_counter()
            await action()
            if number:
                times.append((time.perf_counter() - began_s) * 1000)
    return [median(times) for times in taken]


class Subject:
    """A store beside a history of some length."""

    def __init__(self, dsn: str, most_s: float) -> None:
        self._dsn = dsn
        self._store = PostgresStore(dsn, clock=Clock())
        self._placed = 0
        self.filler = Filler(dsn, most_s)

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    async def actions(self) -> dict[str, Action]:
        """What is measured."""
        store, deep = self._store, await deep_cursor(self._dsn, self.filler.filled // 2)
        known = (await store.orders(user_id=None, status=None, cursor=deep, limit=1)).orders[0].id

        async def place() -> None:
            self._placed += 1
            await store.accept(*pending(self._placed), keys(client_order_id=str(self._placed)))

        def page(user_id: str | None, status: Status | None, cursor: str | None) -> Action:
            return lambda: store.orders(user_id=user_id, status=status, cursor=cursor, limit=50)

        return {
            "accept": place,
            "claim": lambda: store.claim("bench", limit=1, now_ms=2 * NOW_MS, lease_ms=30_000, rate=None),
            "order": lambda: store.order(known),
            "events": lambda: store.events(known),
            "page": page(None, None, None),
            "page, deep": page(None, None, deep),
            "of a user": page("user7", None, None),
            "failed": page(None, Status.FAILED, None),
            "failed, deep": page(None, Status.FAILED, deep),
            "failed of a user": page("user50", Status.FAILED, None),
            "stats": lambda: store.stats(NOW_MS, 60_000),
        }


async def _compare(short: Subject, long: Subject) -> None:
    """Print a table: milliseconds beside each history, and how much longer the long one takes."""
    actions = await short.actions()
    beside = await long.actions()
    print(f"{'ms, median of ' + str(_TIMES):20}{short.filler.filled:>12}{long.filler.filled:>12}{'ratio':>8}")
    for name, action in actions.items():
        few, many = await timed_ms([action, beside[name]])
        print(f"{name:20}{few:12.2f}{many:12.2f}{many / few:8.2f}", flush=True)


async def _run(folders: tuple[Path, Path], most: int, minutes: float) -> None:
    async with server(folders[0]) as short_dsn, server(folders[1]) as long_dsn:
        short, long = Subject(short_dsn, minutes * 60), Subject(long_dsn, minutes * 60)
        await short.open()
        await long.open()
        await short.filler.fill(_STEPS[0])
        try:
            for orders in [*(each for each in _STEPS[1:] if each < most), most]:
                print(f"{orders} orders, filled in {await long.filler.fill(orders):.0f} s", flush=True)
                await _compare(short, long)
        except TooLong as error:
            print(error)
        await short.close()
        await long.close()
        used = await asyncio.to_thread(size_bytes, folders[1])
        if long.filler.filled:
            print(f"{used / long.filler.filled / 1024:.1f} KiB an order on disk")


def main(argv: list[str]) -> int:
    """Print the figures; exit code 0, also when some sizes would take too long."""
    parser = argparse.ArgumentParser(prog="python -m bench history", description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000, help="the longest history")
    parser.add_argument("--minutes", type=float, default=10.0, help="the most that one size may take to fill")
    parser.add_argument("--store", choices=["postgres"], default="postgres")
    parser.add_argument("--dir", type=Path, default=None, help="where the database goes; it is removed afterwards")
    options = parser.parse_args(argv)
    print(described(options.store))
    temporary = tempfile.TemporaryDirectory
    with temporary(dir=options.dir) as short, temporary(dir=options.dir) as long:
        uvloop.run(_run((Path(short), Path(long)), options.orders, options.minutes))
    return 0
