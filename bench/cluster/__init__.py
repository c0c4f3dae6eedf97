"""Ours in several layouts beside a baseline: one machine, one client, one PostgreSQL with fsync, limits lifted.

Ours signs, simulates and executes a transaction for each order on a paper cluster, which is one of its processes.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import platform
import tempfile
from pathlib import Path

import uvloop
from deploy.local.guard import Guard

from bench.cluster.backing import SETTINGS, Servers
from bench.cluster.baseline import baseline, install
from bench.cluster.deployment import LAYOUTS, LIFTED, ours
from bench.cluster.measure import MODES, Plan, Result, measure
from bench.cluster.report import print_results

BASELINE = "baseline"


def main(argv: list[str]) -> int:
    """Measure in turns and print medians and ratios with their conditions."""
    options = _parser().parse_args(argv)
    plan = Plan(tuple(options.mode), options.orders, options.connections, options.sockets, seconds=options.seconds)
    settings = " ".join(f"{name}={text}" for name, text in SETTINGS.items())
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {len(os.sched_getaffinity(0))} CPUs; "
        f"PostgreSQL {settings}; Redis without persistence; all over loopback TCP; ours: "
        f"{' '.join(f'{name.lower()}={text}' for name, text in LIFTED.items())} concurrency={options.concurrency} "
        f"routing={options.routing}; "
        "client in a process of its own on the same CPUs"
    )
    gc.set_threshold(50_000)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results = runner.run(_run(options, plan))
    print_results(results, BASELINE if options.baseline else None)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench cluster", description=__doc__)
    parser.add_argument("--baseline", type=Path, metavar="DIR", help="with server.mjs and package.json; needs npm")
    parser.add_argument("--layout", nargs="*", choices=[name for name in LAYOUTS if name != "api"], default=["split"])
    parser.add_argument("--mode", nargs="*", choices=list(MODES), default=list(MODES))
    parser.add_argument("--routing", choices=["auto", "split", "best"], default="auto", help="of the orders for ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-n", "--orders", type=int, default=5_000, help="in the burst; half of it with WebSockets")
    parser.add_argument("-c", "--connections", type=int, default=64, help="of the burst")
    parser.add_argument("--sockets", type=int, default=100, help="clients with a WebSocket each")
    parser.add_argument("--seconds", type=float, default=8.0, help="at each rate")
    parser.add_argument("--concurrency", type=int, default=200, help="orders that one worker of ours has in work")
    return parser


async def _run(options: argparse.Namespace, plan: Plan) -> dict[str, list[Result]]:
    """Each in turn, `rounds` times, so that a machine that slows down does so for all."""
    results: dict[str, list[Result]] = {}
    with tempfile.TemporaryDirectory(prefix="bestex-bench-") as directory, contextlib.closing(Guard()) as guard:
        os.chmod(directory, 0o755)
        folder = Path(directory)
        copy = install(options.baseline, folder) if options.baseline else None
        servers = Servers(folder, guard)
        servers.start()
        try:
            for number in range(options.rounds):
                for layout in options.layout:
                    data = folder / f"{layout}-{number}"
                    async with ours(layout, servers, data, options.concurrency, options.routing) as deployment:
                        _keep(results, layout, await measure(deployment, plan))
                if copy is not None:
                    async with baseline(copy, servers) as deployment:
                        _keep(results, BASELINE, await measure(deployment, plan))
        finally:
            servers.stop()
    return results


def _keep(results: dict[str, list[Result]], name: str, result: Result) -> None:
    results.setdefault(name, []).append(result)
    speeds = {key: round(value) for key, value in result.figures.items() if key.endswith("orders/s")}
    print(f"  {name}: {speeds} {' '.join(result.notes)}", flush=True)
