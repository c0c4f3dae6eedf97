"""One deployment through all measurements: a burst, a WebSocket each, and two fixed rates."""

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial

from bench.cluster import client
from bench.cluster.client import Run
from bench.cluster.deployment import Deployment
from bench.cluster.usage import cpu_s

MODES = ("burst", "ws", "rate")
_SETTLED_S = 5.0


@dataclass(frozen=True)
class Plan:
    """How much of what."""

    modes: tuple[str, ...] = MODES
    orders: int = 5_000
    connections: int = 64
    sockets: int = 100
    rates: tuple[int, ...] = (50, 200)
    seconds: float = 8.0
    """At each rate."""


@dataclass
class Result:
    """Figures of one run of one deployment, by name."""

    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What went wrong."""


async def measure(deployment: Deployment, plan: Plan) -> Result:
    """All of the plan's modes, after a warm-up."""
    result, url = Result(), deployment.url
    bodies = partial(client.bodies, terms=deployment.terms)
    await client.burst(url, bodies(plan.orders // 4, seed=2), plan.connections, deployment.count)
    await client.streams(url, bodies(plan.orders // 16, seed=3), plan.sockets)
    await _settle(deployment)
    if "burst" in plan.modes:
        orders = bodies(plan.orders)
        used = cpu_s(deployment.processes)
        run = await client.burst(url, orders, plan.connections, deployment.count)
        await _note(result, "burst", deployment, used, run)
        _add_posts(result, run, plan.connections)
    if "ws" in plan.modes:
        orders = bodies(plan.orders // 2)
        used = cpu_s(deployment.processes)
        await _note(result, "ws", deployment, used, await client.streams(url, orders, plan.sockets))
    if "rate" in plan.modes:
        for rate in plan.rates:
            orders = bodies(int(rate * plan.seconds))
            used = cpu_s(deployment.processes)
            run = await client.paced(url, orders, rate)
            await _note(result, f"{rate}/s", deployment, used, run)
            _add_latencies(result, f"{rate}/s", run)
    return result


async def _note(result: Result, mode: str, deployment: Deployment, before: dict[str, float], run: Run) -> None:
    """Orders a second, CPU an order by process with what was still to be done for these orders, and what went wrong."""
    await _settle(deployment)
    after, orders = cpu_s(deployment.processes), run.ended.total()
    if not orders:
        raise SystemExit(f"no order was taken: {dict(run.refused)}")
    result.figures[f"{mode}: orders/s"] = orders / run.elapsed_s
    each = {name: (after[name] - used) / orders * 1e6 for name, used in before.items()}
    result.figures[f"{mode}: CPU us an order, servers"] = sum(each.values())
    for name, us in each.items():
        result.figures[f"{mode}: CPU us an order, {name}"] = us
    result.figures[f"{mode}: CPU us an order, client"] = run.client_s / orders * 1e6
    wrong = {name: number for name, number in run.ended.items() if name != "confirmed"}
    if wrong or run.refused:
        result.notes.append(f"{mode}: not confirmed {wrong}, refused {dict(run.refused)}")


def _add_posts(result: Result, run: Run, connections: int) -> None:
    posts = sorted(run.posts)
    result.figures[f"burst: POST p50 ms, {connections} connections"] = _rank(posts, 0.5)
    result.figures[f"burst: POST p99 ms, {connections} connections"] = _rank(posts, 0.99)


def _add_latencies(result: Result, mode: str, run: Run) -> None:
    confirmed, late = sorted(run.confirmations), sorted(run.late_s)
    result.figures[f"{mode}: POST to confirmed p50 ms"] = _rank(confirmed, 0.5)
    result.figures[f"{mode}: POST to confirmed p99 ms"] = _rank(confirmed, 0.99)
    result.figures[f"{mode}: client late p99 ms"] = _rank(late, 0.99)


def _rank(ordered: list[float], share: float) -> float:
    return ordered[int((len(ordered) - 1) * share)] * 1000 if ordered else float("nan")


async def _settle(deployment: Deployment) -> None:
    """Until nothing is left to be done, so that its cost belongs to the run that caused it."""
    until = time.monotonic() + _SETTLED_S
    while (await deployment.pending()).total() and time.monotonic() < until:
        await asyncio.sleep(0.02)
