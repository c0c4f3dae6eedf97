"""The whole engine in many worlds: nothing that must hold is broken, and the same seed is always the same world."""

import os
import subprocess
import sys

import pytest

from bestex.sim.explore import cut_every_call, one_order
from bestex.sim.faults import Fault
from bestex.sim.simulate import Report, simulate
from bestex.sim.world import Options

SEEDS = range(60)
_SAME = range(20)
_SHORT = Options(rage_s=10.0, workers=1)
_PARTS = 4
_HASHES = """
from bestex.sim.simulate import simulate
from bestex.sim.world import Options
print(*(simulate(seed, Options(rage_s=60.0)).trace_hash for seed in range(20)))
"""


def told(report: Report) -> list[str]:
    return [f"seed {report.seed}: {violation.check}: {violation.sentence}" for violation in report.violations]


@pytest.mark.parametrize("first", range(SEEDS.start, SEEDS.stop, 10))
def test_nothing_that_must_hold_is_broken(first: int) -> None:
    for seed in range(first, first + 10):
        report = simulate(seed, Options())
        assert told(report) == []
        assert report.virtual_s >= report.rage_s


def test_every_fault_happens_somewhere_and_orders_are_placed() -> None:
    seen: set[Fault] = set()
    orders = crashes = 0
    for seed in range(1_000, 1_025):
        report = simulate(seed, Options(rage_s=60.0, intense=seed % 5 == 0))
        assert told(report) == []
        seen.update(report.survived)
        orders, crashes = orders + report.orders, crashes + report.crashes
    assert seen == set(Fault)
    assert orders > 100
    assert crashes > 40


@pytest.mark.parametrize("part", range(_PARTS))
def test_any_one_call_may_be_the_last_one(part: int) -> None:
    """Exhaustive for one order: the process stops before or after each call, or the call times out, or comes twice."""
    whole = simulate(0, one_order(_SHORT))
    assert (whole.orders, told(whole)) == (1, [])
    crashes = 0
    for plan, report in cut_every_call(0, _SHORT, range(1 + part, whole.calls + 1, _PARTS)):
        assert told(report) == [], plan
        assert report.orders == 1
        crashes += report.crashes
    assert crashes >= 2 * (whole.calls // _PARTS)


def hashes(hash_seed: str, python: str = sys.executable) -> list[str]:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    ran = subprocess.run(
        [python, "-c", _HASHES], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    return ran.stdout.split()


def test_the_same_seed_is_the_same_world_in_every_process() -> None:
    one, other = hashes("1"), hashes("31337")
    assert len(one) == len(_SAME)
    assert one == other
    assert len(set(one)) == len(one)


def test_the_same_seed_is_the_same_world_on_every_python() -> None:
    """BESTEX_PYTHONS names interpreters that have this project installed, with colons between them."""
    others = os.environ.get("BESTEX_PYTHONS")
    if not others:
        pytest.skip("BESTEX_PYTHONS names no other interpreters")
    here = hashes("1")
    for python in others.split(":"):
        assert hashes("2", python) == here, python
