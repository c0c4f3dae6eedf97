"""What the wire costs: orders a second through the engine, its paper cluster in the same process and in another one.

Both engines are put together by `bestex.runtime.compose`; orders are stored before the time is taken. The cluster's
process listens on loopback. The two take turns, each time with new data, and the median of the ratios counts.
"""

import argparse
import asyncio
import gc
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
import uvloop

from bench.orders import bodies
from bestex.api.metrics import Metrics
from bestex.bus.local import LocalBus
from bestex.config import Settings
from bestex.execution.intake import OrderRequest
from bestex.orders.order import OrderType
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import PROFILES
from bestex.paper.server import Address, serve_paper
from bestex.ports import Cluster
from bestex.runtime import Engines, Ports, SystemClock, SystemEntropy, compose, open_signer
from bestex.solana.rpc import Market, RpcCluster
from bestex.store.sqlite import SqliteStore

T = TypeVar("T")
Place: TypeAlias = Callable[[str, Path], AbstractAsyncContextManager[tuple[Cluster, Market]]]

_SEED = 1
_SWITCH_S = 0.0005
_GC_THRESHOLD = 50_000
_START_S = 30.0


class Result(msgspec.Struct):
    """One run."""

    per_s: float
    ended: Counter[str]
    cpu_us: float
    """Of the engine's process, an order."""


@asynccontextmanager
async def _paper(network: str, folder: Path) -> AsyncIterator[PaperCluster]:
    clock, signer = SystemClock(), open_signer(Settings(paper_seed=_SEED))
    cluster = await PaperCluster.open(
        profile=PROFILES[network],
        clock=clock,
        entropy=SystemEntropy(),
        path=folder / "paper.db",
        seed=_SEED,
        wallet=signer.pubkey,
    )
    try:
        yield cluster
    finally:
        await cluster.close()


@asynccontextmanager
async def _here(network: str, folder: Path) -> AsyncIterator[tuple[Cluster, Market]]:
    """The cluster in this process."""
    async with _paper(network, folder) as cluster:
        chain = asyncio.create_task(cluster.run())
        try:
            yield cluster, Market(cluster.tokens, cluster.pools)
        finally:
            chain.cancel()
            await asyncio.gather(chain, return_exceptions=True)


@asynccontextmanager
async def _elsewhere(network: str, folder: Path) -> AsyncIterator[tuple[Cluster, Market]]:
    """The cluster in a process of its own."""
    command = [sys.executable, "-m", "bench.wire", "--serve", str(folder), "--network", network]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - nothing else runs yet
    try:
        assert process.stdout is not None
        address = Address(*process.stdout.readline().split())
        cluster = await RpcCluster.open(address.url, ws_url=address.ws_url, clock=SystemClock())
        try:
            yield cluster, await cluster.market()
        finally:
            await cluster.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_START_S)


async def _serve(network: str, folder: Path) -> None:
    async with _paper(network, folder) as cluster:
        _settle_garbage()

        def ready(address: Address) -> None:
            print(*address, flush=True)

        await serve_paper(cluster, clock=SystemClock(), port=0, on_ready=ready)


async def _trade(cluster: Cluster, market: Market, folder: Path, orders: int, at_once: int) -> Result:
    clock, bus = SystemClock(), LocalBus(buffer_events=1_000)
    store = SqliteStore(folder / "bestex.db", clock=clock)
    await store.open()
    store.on_commit(bus.publish)
    settings = Settings(rate_per_minute=0, concurrency=at_once, slippage_bps=300, paper_seed=_SEED)
    ports = Ports(clock, SystemEntropy(), store, bus, cluster, open_signer(settings), market.tokens, market.pools)
    engines = compose(settings, ports, "bench", metrics=Metrics(clock))
    await engines.book.load()
    ended: Counter[str] = Counter()
    store.on_commit(lambda events: ended.update(str(event.status) for event in events if event.final))
    tasks = [asyncio.create_task(engines.reconciler.run())]
    try:
        # Stored first and then worked off: what is measured is the engine and its cluster.
        await _place(engines, bodies(2 * at_once, seed=2))
        tasks.append(asyncio.create_task(engines.workers[0].run()))
        await _count(ended, 2 * at_once)
        ended.clear()
        _settle_garbage()
        before, started = _cpu_s(), time.perf_counter()
        await _place(engines, bodies(orders))
        await _count(ended, orders)
        elapsed_s, cpu_s = time.perf_counter() - started, _cpu_s() - before
        return Result(orders / elapsed_s, ended, cpu_s / orders * 1e6)
    finally:
        await engines.workers[0].drain(5.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()


async def _place(engines: Engines, requests: list[bytes]) -> None:
    await asyncio.gather(*(engines.front.intake.place(_request(body)) for body in requests))


async def _count(ended: Counter[str], orders: int) -> None:
    while ended.total() < orders:
        await asyncio.sleep(0.005)


def _request(body: bytes) -> OrderRequest:
    told = msgspec.json.decode(body)
    return OrderRequest(
        type=OrderType.MARKET,
        token_in=told["tokenIn"],
        token_out=told["tokenOut"],
        amount_in=told["amountIn"],
        user_id=told["userId"],
    )


def _settle_garbage() -> None:
    """As `bestex.runtime.serve` does."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    sys.setswitchinterval(_SWITCH_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


async def _measure(place: Place, options: argparse.Namespace) -> Result:
    with tempfile.TemporaryDirectory(prefix="bestex-bench-") as name:
        async with place(options.network, Path(name)) as (cluster, market):
            return await _trade(cluster, market, Path(name), options.orders, options.concurrency)


def main(argv: list[str]) -> int:
    """Run both in turn and print them with their conditions."""
    parser = argparse.ArgumentParser(prog="python -m bench wire", description=__doc__)
    parser.add_argument("-n", "--orders", type=int, default=1_500)
    parser.add_argument("-c", "--concurrency", type=int, default=64)
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("--network", choices=sorted(PROFILES), default="instant")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve is not None:
        _run(_serve(options.network, options.serve))
        return 0
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {len(os.sched_getaffinity(0))} CPUs; SQLite WAL "
        f"synchronous=FULL; network {options.network}; {options.orders} orders, {options.concurrency} in work at once"
    )
    ratios = []
    for _ in range(options.rounds):
        here, there = _run(_measure(_here, options)), _run(_measure(_elsewhere, options))
        ratios.append(here.per_s / there.per_s)
        for where, result in (("cluster in this process", here), ("cluster over loopback", there)):
            print(f"  {where:24} {result.per_s:5.0f} orders/s, {result.cpu_us:6.0f} us CPU of the engine's process "
                  f"an order; ended {dict(result.ended)}", flush=True)  # fmt: skip
    print(f"  in process / over the wire: {statistics.median(ratios):.2f} (of {[round(each, 2) for each in ratios]})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
