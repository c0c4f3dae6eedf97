"""Less than half a minute of chaos, and the plan that it follows. `make chaos` is the same for as long as you like."""

from tests.crash.chaos import run_chaos
from tests.crash.chaos_nemesis import LEASE_S, draw_plan

MEMBERS = ["api-1", "api-2", "paper", "postgres", "redis", "worker-1", "worker-2", "worker-3"]
SECONDS = 24.0
ORDERS = 60
SEED = 22


async def test_whatever_befalls_a_deployment_nothing_is_lost_or_doubled() -> None:
    run = await run_chaos(SEED, seconds=SECONDS, orders=ORDERS)

    assert not run.violations, "\n".join(run.violations)
    assert run.accepted > ORDERS * 0.8
    assert run.filled > ORDERS * 0.3, "the checks have something to check"
    assert {"kill", "freeze", "restart", "reset", "refuse", "stall"} == {what for what, _ in run.nemesis.struck}
    assert {"api", "worker", "paper", "postgres", "redis"} == {whom for _, whom in run.nemesis.struck}


def test_a_seed_is_a_plan() -> None:
    assert draw_plan(1, 100.0, MEMBERS) == draw_plan(1, 100.0, MEMBERS)
    assert draw_plan(1, 100.0, MEMBERS) != draw_plan(2, 100.0, MEMBERS)


def test_a_plan_has_all_kinds_of_blows_for_all_kinds_of_members() -> None:
    plan = draw_plan(1, 1_000.0, MEMBERS)

    assert {(blow.what, blow.whom) for blow in plan} == {
        *((what, whom) for what in ("kill", "freeze", "restart") for whom in MEMBERS),
        *((what, whom) for what in ("reset", "stall", "refuse") for whom in ("postgres", "redis", "paper")),
    }
    frozen = [blow.lasts_s for blow in plan if blow.what == "freeze" and blow.whom.startswith("worker")]
    assert min(frozen) > LEASE_S, "a frozen worker finds its orders in other hands"
