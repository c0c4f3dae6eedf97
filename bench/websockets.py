"""Many open WebSockets on one API node, each following an order of its own: memory, fan-out, reconnect storm.

The events come through Redis as from another node: a bus of this process publishes them. Clients are processes of
their own on the same CPUs. The store does not have these events: one that the bus loses, or that comes while its socket
looks into the store, stays unsent with all that follow it. In earnest the store would have them.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
import uvloop
from deploy.local.guard import Guard

from bench.cluster import client
from bench.cluster.backing import Servers
from bench.cluster.deployment import Deployment, ours
from bench.cluster.usage import cpu_s, rss_bytes
from bestex.bus.redis import RedisBus
from bestex.bus.redis_link import RedisServer
from bestex.orders.events import Resumed, encode_event
from bestex.orders.status import Status
from bestex.ports import Committed
from bestex.runtime import SystemClock, SystemEntropy
from bestex.types import OrderId

_IDLE_S = 10.0
_BATCH = 500
"""Events that are published together, as those of one commit are."""
_FILES_BESIDE = 1_000


class Clients:
    """The client processes, told the same at the same time."""

    def __init__(self, url: str, order_ids: list[str], processes: int) -> None:
        command = [sys.executable, "-m", "bench.cluster.sockets"]
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        for index, process in enumerate(self._processes):
            _say(process, json.dumps([url, order_ids[index::processes]]))

    async def tell(self, command: str) -> list[dict[str, Any]]:
        """What each answers."""
        for process in self._processes:
            _say(process, command)
        return [json.loads(await asyncio.to_thread(_answer, process)) for process in self._processes]

    def close(self) -> None:
        """End them; what they have open is closed."""
        for process in self._processes:
            process.communicate(timeout=30)


def main(argv: list[str]) -> int:
    """Run the measurements and print them with their conditions."""
    parser = argparse.ArgumentParser(prog="python -m bench websockets", description=__doc__)
    parser.add_argument("-n", "--sockets", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2, help="of clients")
    parser.add_argument("--rounds", type=int, default=5, help="events for each socket, as fast as possible")
    parser.add_argument("--rate", type=int, default=2_000, help="events a second for the latency")
    parser.add_argument("--at-once", type=int, default=500, help="handshakes under way, per client process")
    options = parser.parse_args(argv)
    _raise_limit(options.sockets + _FILES_BESIDE)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))  # events of no order are no news here
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {len(os.sched_getaffinity(0))} CPUs; "
        f"one bestex api, PostgreSQL, Redis; {options.sockets} sockets from {options.processes} client processes"
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(options))
    return 0


async def _run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="bestex-bench-") as directory, contextlib.closing(Guard()) as guard:
        os.chmod(directory, 0o755)
        folder = Path(directory)
        servers = Servers(folder, guard)
        servers.start()
        try:
            async with ours("api", servers, folder / "data", 1) as deployment:
                await _measure(deployment, options)
        finally:
            servers.stop()


async def _measure(deployment: Deployment, options: argparse.Namespace) -> None:
    order_ids = await client.place(deployment.url, client.bodies(options.sockets), 64)
    api = deployment.processes["api"]
    with contextlib.closing(Clients(deployment.url, order_ids, options.processes)) as clients:
        before, used = rss_bytes(api), _cpu_s(api)
        _print_opened("opened, each with its first event", await clients.tell(f"open {options.at_once}"))
        opened_us = (_cpu_s(api) - used) / len(order_ids) * 1e6
        print(
            f"  API node: {opened_us:.0f} us CPU a socket, {(rss_bytes(api) - before) / len(order_ids):.0f} bytes each"
        )
        used = _cpu_s(api)
        await asyncio.sleep(_IDLE_S)
        print(f"idle for {_IDLE_S:.0f} s: {(_cpu_s(api) - used) / _IDLE_S:.1%} of a CPU")
        async with _other_node(deployment) as bus:
            await _fan_out(bus, clients, order_ids, api, options)
        used = _cpu_s(api)
        _print_opened("reconnect storm, to the first event", await clients.tell(f"storm {options.at_once}"))
        storm_us = (_cpu_s(api) - used) / len(order_ids) * 1e6
        print(f"  API node: {storm_us:.0f} us CPU a socket, {rss_bytes(api) / 1e6:.0f} MB in all")


async def _fan_out(
    bus: RedisBus, clients: Clients, order_ids: list[str], api: int, options: argparse.Namespace
) -> None:
    share = len(order_ids) // options.processes
    used, began = _cpu_s(api), time.monotonic_ns()
    for seq in range(2, options.rounds + 2):
        await _publish(bus, order_ids, seq, None)
    arrivals = _arrivals(await clients.tell(f"wait {share * options.rounds}"))
    seconds = (max(arrived for _, arrived in arrivals) - began) / 1e9
    us = (_cpu_s(api) - used) / len(arrivals) * 1e6  # with what the sockets cost at rest
    print(f"fan-out: {len(arrivals)} events to their sockets in {seconds:.2f} s = {len(arrivals) / seconds:.0f}/s")
    print(f"  of {len(order_ids) * options.rounds} published; API node: {us:.0f} us CPU an event")
    await _publish(bus, order_ids, options.rounds + 2, options.rate)
    arrivals = _arrivals(await clients.tell(f"wait {share}"))
    print(f"at {options.rate} events/s: published to received p50/p99 {_percentiles(_seconds(arrivals))} ms")


async def _publish(bus: RedisBus, order_ids: list[str], seq: int, rate: float | None) -> None:
    """One event for each order, stamped with the time; at a rate each by itself, else in batches."""
    size, began = (1, time.monotonic()) if rate else (_BATCH, 0.0)
    for begin in range(0, len(order_ids), size):
        if rate:
            await asyncio.sleep(max(0.0, began + begin / rate - time.monotonic()))
        bus.publish([_event(each, seq) for each in order_ids[begin : begin + size]])
        while bus.queued > 10 * _BATCH:
            await asyncio.sleep(0.001)


def _event(order_id: str, seq: int) -> Committed:
    told = Resumed(
        order_id=OrderId(order_id), seq=seq, status=Status.PENDING, at=datetime.now(UTC),
        explanation=f"sent {time.monotonic_ns()}",
    )  # fmt: skip
    return Committed(told.order_id, seq, told.status, False, encode_event(told))


@asynccontextmanager
async def _other_node(deployment: Deployment) -> AsyncIterator[RedisBus]:
    server = RedisServer(deployment.redis_url, clock=SystemClock(), entropy=SystemEntropy(), timeout_s=10.0)
    bus = RedisBus(server, prefix="bestex:", buffer_events=256)
    running = asyncio.create_task(bus.run())
    try:
        await bus.wait_listening()
        yield bus
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _raise_limit(files: int) -> None:
    """Of this process and those that it starts. Raises SystemExit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), max(hard, files)))
    except (ValueError, OSError) as error:
        raise SystemExit(f"{files} open files are needed, {hard} are allowed: raise the limit (ulimit -n)") from error


def _say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _answer(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _arrivals(answers: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(sent, arrived) for answer in answers for sent, arrived in answer["arrivals"]]


def _seconds(arrivals: list[tuple[int, int]]) -> Iterator[float]:
    return ((arrived - sent) / 1e9 for sent, arrived in arrivals)


def _print_opened(title: str, answers: list[dict[str, Any]]) -> None:
    took = [seconds for answer in answers for seconds in answer["took"]]
    seconds = max(answer["seconds"] for answer in answers)
    failed = sum(answer["failed"] for answer in answers)
    print(f"{title}: {len(took)} in {seconds:.1f} s = {len(took) / seconds:.0f}/s, p50/p99 {_percentiles(took)} ms")
    if failed:
        print(f"  not opened: {failed}: {next(answer['why'] for answer in answers if answer['failed'])}")


def _percentiles(seconds: Iterable[float]) -> str:
    ranked = sorted(seconds)
    return " / ".join(f"{ranked[int((len(ranked) - 1) * share)] * 1000:.1f}" for share in (0.5, 0.99))


def _cpu_s(pid: int) -> float:
    return cpu_s({"": pid})[""]
