"""Orders a second from POST to confirmed: SQLite, the instant paper network, limits lifted, client on this machine."""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import uvloop

from bench import load

Mode: TypeAlias = Callable[[str, list[bytes], int], Coroutine[Any, Any, load.Load]]

_PAIRS = [
    ("USDC", "SOL", 100.0),
    ("SOL", "USDC", 0.6),
    ("USDC", "ETH", 100.0),
    ("ETH", "USDC", 0.03),
    ("USDC", "BTC", 100.0),
    ("BTC", "USDC", 0.001),
    ("SOL", "JUP", 0.6),
    ("ETH", "SOL", 0.03),
    ("USDT", "USDC", 100.0),
    ("USDC", "USDT", 100.0),
    ("SOL", "RAY", 0.6),
    ("RAY", "SOL", 30.0),
]
_LIFTED = ["network=instant", "rate_per_minute=0", "concurrency=1000", "slippage_bps=300", "market_max_age_s=0.4"]


@dataclass
class Server:
    """A running server process, and afterwards what it used."""

    url: str
    pid: int
    cpu_s: float = 0.0
    samples: dict[str, int] | None = None


@contextlib.contextmanager
def serving(*, sample: bool) -> Iterator[Server]:
    """A fresh server on a fresh disk."""
    with tempfile.TemporaryDirectory(prefix="bestex-bench-") as directory:
        command = [sys.executable, "-m", "bench.server", "--data-dir", directory, *_LIFTED]
        process = subprocess.Popen(command + ["--sample"] * sample, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
            if not ready:
                raise SystemExit("the server did not start")
            server = Server(json.loads(ready)["url"], process.pid)
            yield server
            process.send_signal(signal.SIGTERM)
            used = json.loads(process.stdout.readline())
            server.cpu_s, server.samples = used["cpu_s"], used["samples"]
            process.wait(30)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def bodies(count: int, seed: int = 1, routing: str = "auto") -> list[bytes]:
    """Market orders of several pairs and sizes, the same for the same seed."""
    chance, made = random.Random(seed), []
    for index in range(count):
        token_in, token_out, size = _PAIRS[index % len(_PAIRS)]
        amount = f"{size * chance.uniform(0.5, 1.5):.5f}"
        order = {"type": "market", "tokenIn": token_in, "tokenOut": token_out, "amountIn": amount, "routing": routing}
        order["userId"] = f"user{index % 50}"
        made.append(json.dumps(order).encode())
    return made


def main(argv: list[str]) -> int:
    """Run the measurements and print them with their conditions."""
    parser = argparse.ArgumentParser(prog="python -m bench orders", description=__doc__)
    parser.add_argument("-n", "--orders", type=int, default=6000)
    parser.add_argument("-c", "--connections", type=int, default=64)
    parser.add_argument("--mode", choices=["all", "burst", "ws", "rate"], default="all")
    parser.add_argument("--routing", choices=["auto", "split", "best"], default="auto")
    parser.add_argument("--no-sample", action="store_true", help="do not sample where the server's time goes")
    options = parser.parse_args(argv)
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {len(os.sched_getaffinity(0))} CPUs; "
        f"SQLite WAL synchronous=FULL; paper cluster in process; {' '.join(_LIFTED)} routing={options.routing}; "
        "client in a process of its own on the same CPUs"
    )
    if options.mode in ("all", "burst"):
        _measure("burst, no WebSocket", options.orders, options, load.burst)
    if options.mode in ("all", "ws"):
        _measure("a WebSocket per order", options.orders // 2, options, load.streams)
    if options.mode in ("all", "rate"):
        for rate in (50, 200):
            with serving(sample=False) as server:
                result = _run(load.paced(server.url, bodies(rate * 10, routing=options.routing), rate))
            _print(f"open loop, {rate} orders/s, a WebSocket each", result, len(result.posts), server, None)
    return 0


def _measure(title: str, orders: int, options: argparse.Namespace, run: Mode) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    with serving(sample=not options.no_sample) as server:
        _run(load.burst(server.url, bodies(500, 2, options.routing), options.connections))  # warm up
        warmed = _cpu_s(server.pid)
        result = _run(run(server.url, bodies(orders, routing=options.routing), options.connections))
        used = _cpu_s(server.pid) - warmed
    after = resource.getrusage(resource.RUSAGE_SELF)
    server.cpu_s = used
    client_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    _print(title, result, orders, server, client_s)


def _run(coroutine: Coroutine[Any, Any, load.Load]) -> load.Load:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


def _print(title: str, result: load.Load, orders: int, server: Server, client_s: float | None) -> None:
    print(f"\n{title}: {orders} orders in {result.elapsed:.2f} s = {orders / result.elapsed:.0f} orders/s")
    print(f"  ended: {result.statuses}, refused POSTs: {result.errors}")
    print(f"  POST p50/p99                {_percentiles(result.posts)} ms")
    if result.confirmations:
        print(f"  POST to confirmed p50/p99   {_percentiles(result.confirmations)} ms")
    if client_s is not None:
        print(f"  CPU an order: server {server.cpu_s / orders * 1e6:.0f} us, client {client_s / orders * 1e6:.0f} us")
    if server.samples and client_s is not None:
        _print_samples(server.samples, server.cpu_s / orders * 1e6)


def _print_samples(samples: dict[str, int], us_per_order: float) -> None:
    total = sum(samples.values())
    by_part: dict[str, int] = {}
    for name, count in samples.items():
        part = name if name.startswith("[") else name.split("/")[0]
        by_part[part] = by_part.get(part, 0) + count
    print("  where the server's CPU time goes (sampled; us an order):")
    for part, count in sorted(by_part.items(), key=lambda item: -item[1]):
        if count * 100 >= total:
            print(f"    {part:24} {count / total:5.1%}  {us_per_order * count / total:6.0f}")


def _percentiles(seconds: list[float]) -> str:
    ranked = sorted(seconds)
    return " / ".join(f"{ranked[int((len(ranked) - 1) * share)] * 1000:.1f}" for share in (0.5, 0.99))


def _cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
