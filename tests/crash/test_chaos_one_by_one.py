"""One process at a time, under load: killed, or told to stop."""

import asyncio

import asyncpg

from tests.crash.chaos import SETTINGS, Chaos, chaos
from tests.crash.chaos_nemesis import LEASE_S, Blow

SEED = 12
GRACE_S = 4.0
"""For what is not waiting: on a busy machine processes take a while to do anything."""
POLL_S, SHUTDOWN_S = (float(str(SETTINGS[name])) for name in ("poll_s", "shutdown_s"))
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


async def at_work(run: Chaos, name: str, least: int = 1) -> int:
    """Until the worker has so many orders in work; its process id."""
    pid = run.cluster.members[name].pid
    assert pid is not None
    await until(run, _IN_WORK, pid, least=least, within_s=30)
    return pid


async def kill_at_work(run: Chaos, name: str) -> int:
    """Kill it while it has orders; its process id. Where its last one ended at that very moment: once more."""
    while True:
        pid = await at_work(run, name)
        await run.cluster.members[name].kill()
        try:
            await until(run, _HELD, pid, least=1, within_s=0.5)
        except TimeoutError:
            await run.cluster.members[name].start()
        else:
            return pid


async def kill_and_see_its_orders_taken_over(run: Chaos, name: str) -> None:
    """By others, when their leases have ended, and only then."""
    pid = await kill_at_work(run, name)
    took_s = await until(run, _HELD, pid, most=0, within_s=30)
    await run.cluster.members[name].start()
    assert took_s < LEASE_S + POLL_S + GRACE_S


async def stop_and_see_its_orders_handed_back(run: Chaos, name: str, shutdown_s: float) -> None:
    """Those that it has not finished in the time that it has: at once, not at their leases' end."""
    loop = asyncio.get_running_loop()
    pid = await at_work(run, name)
    began_s = loop.time()
    assert await run.cluster.members[name].terminate() == 0
    assert loop.time() - began_s < shutdown_s + GRACE_S
    await until(run, _HELD + " AND lease_until_ms > 0", pid, most=0, within_s=0.5)
    await run.cluster.members[name].start()


async def test_kill_nine_of_any_one_process_under_load_loses_nothing_and_doubles_nothing() -> None:
    async with chaos(SEED) as run, run.load(90, 30.0):
        await kill_and_see_its_orders_taken_over(run, "worker-1")
        for name in ("api-1", "paper", "postgres", "redis", "worker-2"):
            await run.until_seen(20)
            if name.startswith("worker"):
                await at_work(run, name)
            await run.nemesis.strike(Blow(0.0, "kill", name, 0.3))
        await stop_and_see_its_orders_handed_back(run, "worker-3", SHUTDOWN_S)
    assert not run.violations, "\n".join(run.violations)
    assert run.filled > 15


async def test_a_worker_that_is_told_to_stop_and_has_no_time_hands_its_orders_back() -> None:
    async with chaos(SEED, workers=2, shutdown_s=0.2) as run, run.load(30, 6.0):
        await at_work(run, "worker-1", least=3)
        await stop_and_see_its_orders_handed_back(run, "worker-1", 0.2)
    assert not run.violations, "\n".join(run.violations)
