"""Orders a second through the store alone: accept, claim, and four steps with six events and one attempt each.

The steps go as the engine writes them: routing and building without waiting, submitted awaited, then confirmed and
finalized in one change. Each of the three waits is for a commit with fsync.
"""

import argparse
import asyncio
import gc
import os
import platform
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import uvloop
from tests.support.orders import NOW_MS, Life, attempt, pending

from bench.stores import STORES, AnyStore, described, opened, server_cpu_s, size_bytes
from bestex.orders.attempt import Attempt, AttemptState
from bestex.orders.events import Event
from bestex.orders.order import IdempotencyKeys, Order, new_order_id
from bestex.ports import Change
from bestex.types import OrderId

_LATE_MS = 2 * NOW_MS
_GIL_SWITCH_S = 0.0005
"""As `bestex serve` sets it."""
_replace = msgspec.structs.replace


class Template:
    """The life of one order, from which those of all others are copied: the making of them is not to be measured."""

    def __init__(self) -> None:
        self._order, self._accepted = pending(0, client_order_id="")
        life = Life(_replace(self._order, lease_epoch=1))
        self._steps: list[tuple[Order, tuple[Event, ...], Attempt | None]] = []
        self._step(life, life.routed())
        self._step(life, life.built())
        prepared = attempt(life.order)
        self._step(life, life.submitted(), attempt=prepared)
        landed = _replace(prepared, state=AttemptState.LANDED, slot=250_000_003)
        self._step(life, life.confirmed(), life.finalized(), attempt=landed)

    def new(self, number: int) -> tuple[Order, Event, IdempotencyKeys]:
        """The order with this number; ten are made in a millisecond, and each has a random client order id."""
        order_id = new_order_id(NOW_MS + number // 10, secrets.token_bytes(10))
        key = secrets.token_hex(16)
        order = _replace(self._order, id=order_id, terms=_replace(self._order.terms, client_order_id=key))
        event = _replace(self._accepted, order_id=order_id, client_order_id=key)
        return order, event, IdempotencyKeys(order.terms.user_id, "0" * 64, client_order_id=key)

    def step(self, index: int, claimed: Order, number: int, signature: str) -> Change:
        """One of the four steps. A blockhash serves 4,000 orders."""
        after, events, made = self._steps[index]
        order = _replace(
            after,
            id=claimed.id,
            terms=claimed.terms,
            lease_owner=claimed.lease_owner,
            lease_until_ms=claimed.lease_until_ms,
        )
        if made is not None:
            height = 250_000_000 + number // 4000
            made = _replace(made, order_id=claimed.id, signature=signature, last_valid_block_height=height)
        return Change(order=order, events=tuple([_replace(each, order_id=claimed.id) for each in events]), attempt=made)

    def _step(self, life: Life, *events: Event, attempt: Attempt | None = None) -> None:
        self._steps.append((life.order, events, attempt))


class Run:
    """A number of orders through a store, a bounded number of them at once."""

    def __init__(self, store: AnyStore, first: int, orders: int, concurrency: int) -> None:
        self._store = store
        self._template = Template()
        self._numbers = iter(range(first, first + orders))
        self._concurrency = concurrency
        self._work = asyncio.Event()
        self._ends: dict[OrderId, asyncio.Future[None]] = {}

    async def run(self) -> float:
        """Seconds from the first accept to the last confirmation."""
        began_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:  # whatever fails ends the run
            self._group = group
            worker = group.create_task(self._worker())
            await asyncio.gather(*[group.create_task(self._client()) for _ in range(self._concurrency)])
            elapsed_s = time.perf_counter() - began_s
            worker.cancel()
        return elapsed_s

    async def _client(self) -> None:
        loop = asyncio.get_running_loop()
        for number in self._numbers:
            order, event, keys = self._template.new(number)
            end = self._ends[order.id] = loop.create_future()
            await self._store.accept(order, event, keys)
            self._work.set()
            await end

    async def _worker(self) -> None:
        number = 0
        while True:
            await self._work.wait()
            self._work.clear()
            answer = await self._store.claim("bench", limit=1000, now_ms=_LATE_MS, lease_ms=30_000, rate=None)
            for claim in answer.claims:
                number += 1
                self._group.create_task(self._execute(claim.order, number))

    async def _execute(self, order: Order, number: int) -> None:
        signature = secrets.token_hex(44)
        for index in (0, 1):
            self._store.record(self._template.step(index, order, number, signature))
        for index in (2, 3):
            await self._store.record(self._template.step(index, order, number, signature))
        self._ends.pop(order.id).set_result(None)


def main(argv: list[str]) -> int:
    """Print the figures; exit code 0."""
    parser = argparse.ArgumentParser(prog="python -m bench store", description=__doc__)
    parser.add_argument("--orders", type=int, default=20_000, help="orders in one measurement")
    parser.add_argument("--stored", type=int, default=300_000, help="measure again beside this many orders; 0: do not")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[100, 1000], help="orders at once")
    parser.add_argument("--dir", type=Path, default=None, help="where the database goes; it is removed afterwards")
    parser.add_argument("--store", choices=[*STORES, "all"], default="all")
    options = parser.parse_args(argv)
    print(f"python {platform.python_version()}, {os.cpu_count()} CPUs, {_cpu()}")
    for name in STORES if options.store == "all" else [options.store]:
        print(f"{described(name)}; 3 commits awaited per order, 6 events, 1 attempt")
        with _tuned(), tempfile.TemporaryDirectory(dir=options.dir) as folder:
            uvloop.run(_measure(name, Path(folder), options))
    return 0


async def _measure(name: str, folder: Path, options: argparse.Namespace) -> None:
    batches: list[tuple[int, float]] = []
    stored = 0
    async with opened(name, folder, lambda count, seconds: batches.append((count, seconds))) as store:
        for concurrency in options.concurrency:
            await _one(store, folder, stored, options.orders, concurrency, batches)
            stored += options.orders
        if options.stored:
            print(f"filling up to {options.stored} orders ...", flush=True)
            if options.stored > stored:
                await Run(store, stored, options.stored - stored, 1000).run()
                stored = options.stored
            for concurrency in options.concurrency:
                await _one(store, folder, stored, options.orders, concurrency, batches)
                stored += options.orders
    print(f"{size_bytes(folder) / stored / 1024:.1f} KiB an order on disk")


async def _one(
    store: AnyStore, folder: Path, stored: int, orders: int, concurrency: int, batches: list[tuple[int, float]]
) -> None:
    batches.clear()
    cpu_s, loop_s, server_s = time.process_time(), time.thread_time(), server_cpu_s(folder)
    elapsed_s = await Run(store, stored, orders, concurrency).run()
    cpu_us = (time.process_time() - cpu_s) / orders * 1e6
    loop_us = (time.thread_time() - loop_s) / orders * 1e6
    server_us = (server_cpu_s(folder) - server_s) / orders * 1e6
    counts = sorted(count for count, _ in batches)
    times_ms = sorted(seconds * 1000 for _, seconds in batches)
    print(
        f"beside {stored:7} orders, {concurrency:5} at once: {orders / elapsed_s:7.0f} orders/s; "
        f"CPU {cpu_us:.0f} us an order, {loop_us:.0f} of it in the event loop, "
        f"and {server_us:.0f} of the server; "
        f"{len(counts)} commits of {_at(counts, 0.5)} (p50) to {counts[-1]} writes, "
        f"{_at(times_ms, 0.5):.1f} ms p50, {_at(times_ms, 0.99):.1f} ms p99",
        flush=True,
    )


@contextmanager
def _tuned() -> Iterator[None]:
    """The interpreter as a server sets it."""
    before_s, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(_GIL_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)
        gc.set_threshold(*thresholds)


def _at(ordered: list[float] | list[int], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
