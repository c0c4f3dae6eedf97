"""Many open WebSockets on one API node, each following a real order: memory, CPU, delivery, reconnect storm.

The orders are placed while no worker runs, and each gets a socket; then a worker executes them all, as fast as it can.
Every socket must get all events of its order as the store has them, each once and in order: else the exit code is 1.
Clients are processes of their own on the same CPUs.
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
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from deploy.local.guard import Guard

from bench.cluster import client
from bench.cluster.backing import SETTINGS, Servers
from bench.cluster.deployment import LIFTED, Deployment, ours
from bench.cluster.usage import cpu_s, rss_bytes

_POSTING = 64
_CONCURRENCY = 200
_FILES_BESIDE = 1_000
_LAST_SEQS = "SELECT order_id::text, max(seq) FROM order_events GROUP BY order_id"


class Clients:
    """The client processes, told the same at the same time."""

    def __init__(self, url: str, order_ids: list[str], processes: int) -> None:
        command = [sys.executable, "-m", "bench.cluster.sockets"]
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        for index, process in enumerate(self._processes):
            _say(process, url, order_ids[index::processes])

    async def tell(self, command: str, *arguments: float) -> list[dict[str, Any]]:
        """What each answers. Raises SystemExit when one has died."""
        for process in self._processes:
            _say(process, command, *arguments)
        lines = [await asyncio.to_thread(_answer, process) for process in self._processes]
        if not all(lines):
            raise SystemExit("a client process has ended by itself")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """End them; what they have open is closed."""
        for process in self._processes:
            process.communicate(timeout=30)


class Run:
    """One run against the clock, and what went wrong in it."""

    def __init__(self, deployment: Deployment, options: argparse.Namespace) -> None:
        self.wrong: list[str] = []
        self._deployment = deployment
        self._options = options
        self._until_s: float = time.monotonic() + options.minutes * 60
        self._api = deployment.processes["api"]

    async def measure(self) -> None:
        """All stages in turn, until one goes wrong: what follows would not count."""
        count, url = self._options.sockets, self._deployment.url
        async with asyncio.timeout(self._left_s):
            order_ids = await client.place(url, client.bodies(count), _POSTING)
        print(f"{count} orders accepted; no worker runs", flush=True)
        with contextlib.closing(Clients(url, order_ids, self._options.processes)) as clients:
            before = rss_bytes(self._api)
            await self._open(clients, "opened, to the first event", from_seq=1)
            print(f"  API node: {(rss_bytes(self._api) - before) / count / 1024:.1f} KiB RSS a socket", flush=True)
            await self._rest()
            if not self.wrong:
                await self._deliver(clients)
            if not self.wrong:
                await self._storm(clients)

    async def _open(self, clients: Clients, title: str, *, from_seq: int) -> None:
        used, options = self._used()["api"], self._options
        answers = await clients.tell("open", from_seq, options.at_once, self._left_s)
        took = [seconds for answer in answers for seconds in answer["took"]]
        seconds = max(float(answer["seconds"]) for answer in answers)
        print(f"{title}: {len(took)} in {seconds:.1f} s = {len(took) / seconds:.0f}/s, p50/p99 {_ranks_ms(took)} ms")
        print(f"  API node: {self._us_each(used, len(took))} us CPU a socket")
        self._note(title, answers)

    async def _rest(self) -> None:
        used, seconds = self._used()["api"], min(self._options.quiet, self._left_s)
        await asyncio.sleep(seconds)
        print(f"quiet for {seconds:.0f} s: API node {(self._used()['api'] - used) / seconds:.1%} of a CPU", flush=True)

    async def _deliver(self, clients: Clients) -> None:
        assert self._deployment.join is not None
        before = self._used()
        async with self._deployment.join("worker") as worker:
            answers = await self._read(clients, "delivered", from_seq=1)
            used = {name: spent - before[name] for name, spent in self._used().items()} | cpu_s({"worker": worker})
        lags = [lag / 1000 for answer in answers for lag in answer["lags"]]
        if not lags:
            return
        seconds = max(answer["until"] for answer in answers) - min(answer["since"] for answer in answers)
        statuses = sum((Counter(answer["statuses"]) for answer in answers), Counter[str]())
        ended = sum(answer["ended"] for answer in answers)
        speed = f"{len(lags) / seconds:.0f} events/s, {ended / seconds:.0f} orders/s to their end"
        print(f"delivered while a worker executes: {len(lags)} events in {seconds:.1f} s = {speed}; {dict(statuses)}")
        print(f"  from when it happened to its receipt: p50/p99 {_ranks_ms(lags)} ms, most {max(lags) * 1000:.0f} ms")
        told = ", ".join(f"{name} {spent / len(lags) * 1e6:.0f}" for name, spent in used.items())
        print(f"  CPU us an event: {told}", flush=True)

    async def _storm(self, clients: Clients) -> None:
        began_s = time.time()
        await self._open(clients, "reconnect storm from event 2 on, to the first event", from_seq=2)
        answers = await self._read(clients, "reconnect storm", from_seq=2)
        seconds = max(answer["until"] for answer in answers) - began_s
        events = sum(answer["events"] for answer in answers)
        print(f"  all {events} events replayed {seconds:.1f} s after the first reconnect = {events / seconds:.0f}/s")

    async def _read(self, clients: Clients, title: str, *, from_seq: int) -> list[dict[str, Any]]:
        """Until all have ended; what they got is held against the store."""
        answers = await clients.tell("read", self._left_s)
        self._note(title, answers)
        got = {order_id: seq for answer in answers for order_id, seq in answer["last"].items()}
        connection = await asyncpg.connect(self._deployment.dsn)
        try:
            stored = {str(order_id): int(seq) for order_id, seq in await connection.fetch(_LAST_SEQS)}
        finally:
            await connection.close()
        missing = sum(max(0, stored[order_id] - seq) for order_id, seq in got.items())
        wanted, received = sum(stored.values()) - (from_seq - 1) * len(got), sum(each["events"] for each in answers)
        if missing or wanted != received:
            self.wrong.append(f"{title}: the store has {wanted} events, {received} came, the last {missing} did not")
        return answers

    def _note(self, title: str, answers: list[dict[str, Any]]) -> None:
        wrong = sum((Counter(answer["wrong"]) for answer in answers), Counter[str]())
        self.wrong += [f"{title}: {number} sockets: {why}" for why, number in wrong.most_common(5)]

    @property
    def _left_s(self) -> float:
        """Until the time is up, seconds; a moment for the last words."""
        return max(1.0, self._until_s - time.monotonic())

    def _used(self) -> dict[str, float]:
        """CPU seconds of all processes so far."""
        return cpu_s(self._deployment.processes)

    def _us_each(self, before_s: float, count: int) -> str:
        return f"{(self._used()['api'] - before_s) / max(1, count) * 1e6:.0f}"


def main(argv: list[str]) -> int:
    """Print the figures with their conditions. 0; 1: events or sockets are missing, or the time was up."""
    options = _parser().parse_args(argv)
    _raise_limit(options.sockets + _FILES_BESIDE)
    settings = " ".join(f"{name}={text}" for name, text in (SETTINGS | LIFTED).items())
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {len(os.sched_getaffinity(0))} CPUs; {settings}\n"
        f"one API node, PostgreSQL, Redis; {options.sockets} sockets from {options.processes} client processes",
        flush=True,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        wrong = runner.run(_run(options))
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench websockets", description=__doc__)
    parser.add_argument("-n", "--sockets", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2, help="of clients")
    parser.add_argument("--at-once", type=int, default=250, help="handshakes under way, per client process")
    parser.add_argument("--quiet", type=float, default=20.0, metavar="SECONDS", help="without any event")
    parser.add_argument("--minutes", type=float, default=4.0, help="the most that it may take")
    return parser


async def _run(options: argparse.Namespace) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="bestex-bench-") as directory, contextlib.closing(Guard()) as guard:
        os.chmod(directory, 0o755)  # PostgreSQL does not run as root
        folder = Path(directory)
        servers = Servers(folder, guard)
        servers.start()
        try:
            async with ours("api", servers, folder / "data", _CONCURRENCY) as deployment:
                run = Run(deployment, options)
                try:
                    await run.measure()
                except TimeoutError:
                    run.wrong.append("the time was up before all orders were placed")
                return run.wrong
        finally:
            servers.stop()


def _raise_limit(files: int) -> None:
    """Of this process and those that it starts. Raises SystemExit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), max(hard, files)))
    except (ValueError, OSError) as error:
        raise SystemExit(f"{files} open files are needed, {hard} are allowed: raise the limit (ulimit -n)") from error


def _say(process: "subprocess.Popen[str]", *words: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(words) + "\n")
    process.stdin.flush()


def _answer(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _ranks_ms(seconds: Iterable[float]) -> str:
    ranked = sorted(seconds) or [float("nan")]
    return " / ".join(f"{ranked[int((len(ranked) - 1) * share)] * 1000:.1f}" for share in (0.5, 0.99))
