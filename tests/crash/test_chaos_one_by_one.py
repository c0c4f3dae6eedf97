"""One process at a time, under load: killed, or told to stop."""

import asyncio

import asyncpg
import pytest

from tests.crash.chaos import SETTINGS, Chaos, chaos
from tests.crash.chaos_nemesis import LEASE_S, Blow

SEED = 12
GRACE_S = 4.0
"""For what is not waiting: on a busy machine processes take a while to do anything."""
_IN_WORK = "SELECT count(*) FROM open_orders WHERE lease_owner LIKE $1 AND status <> 'confirmed'"
_HELD = "SELECT count(*) FROM open_orders WHERE lease_owner LIKE $1"


async def until(run: Chaos, query: str, pid: int, *, least: int = 0, most: int = 1_000_000, within_s: float) -> float:
    """Until the count of the worker's orders is within bounds; how long it took, seconds."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    connection = await asyncpg.connect(run.cluster.database.dsn())
    try:
        async with asyncio.timeout(within_s):
            while not least <= await connection.fetchval(query, f"%-{pid}-%") <= most:
                await asyncio.sleep(0.01)
    finally:
        await connection.close()
    return loop.time() - began_s


def pid_of(run: Chaos, name: str) -> int:
    pid = run.cluster.members[name].pid
    assert pid is not None
    return pid


async def test_kill_nine_of_any_one_process_under_load_loses_nothing_and_doubles_nothing() -> None:
    async with chaos(SEED) as run, run.load(90, 40.0):
        for name in ("worker-1", "api-1", "paper", "postgres", "redis", "worker-2"):
            await run.until_seen(20)
            if name.startswith("worker"):
                await until(run, _IN_WORK, pid_of(run, name), least=1, within_s=30)
            await run.nemesis.strike(Blow(0.0, "kill", name, 0.3))
    assert not run.violations, "\n".join(run.violations)
    assert run.filled > 15


async def test_orders_of_a_dead_worker_are_taken_over_when_their_leases_end() -> None:
    async with chaos(SEED) as run, run.load(30, 6.0):
        pid = pid_of(run, "worker-1")
        await until(run, _IN_WORK, pid, least=3, within_s=30)
        worker = run.cluster.members["worker-1"]
        await worker.kill()
        assert await until(run, _HELD, pid, most=1_000, within_s=1) < 1
        took_s = await until(run, _HELD, pid, most=0, within_s=30)
        await worker.start()
    assert took_s < LEASE_S + float(str(SETTINGS["poll_s"])) + GRACE_S
    assert not run.violations, "\n".join(run.violations)


@pytest.mark.parametrize("shutdown_s", [0.2, 6.0])
async def test_a_worker_that_is_told_to_stop_finishes_its_orders_or_hands_them_back(shutdown_s: float) -> None:
    async with chaos(SEED, shutdown_s=shutdown_s) as run, run.load(30, 6.0):
        pid = pid_of(run, "worker-1")
        await until(run, _IN_WORK, pid, least=3, within_s=30)
        worker = run.cluster.members["worker-1"]
        began_s = asyncio.get_running_loop().time()
        assert await worker.terminate() == 0
        took_s = asyncio.get_running_loop().time() - began_s
        await until(
            run, _HELD + " AND lease_until_ms > 0", pid, most=0, within_s=0.5
        )  # at once, not at their leases' end
        await worker.start()
    assert took_s < shutdown_s + GRACE_S
    assert not run.violations, "\n".join(run.violations)
