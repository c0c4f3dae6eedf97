"""One seed: a world is made, lived through, and held against everything that must be true of it."""

import gc
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bestex.sim.ablations import ablated
from bestex.sim.chance import Chance
from bestex.sim.checks import CHECKS
from bestex.sim.faults import Fault, Weather
from bestex.sim.loop import Deadlock, Livelock, SimLoop
from bestex.sim.machine import LogCapture
from bestex.sim.trace import Trace
from bestex.sim.world import Options, World

_settled = False
_GARBAGE = 200_000
"""Objects made since the last collection, about ten runs' worth."""

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
"""Files that are only ever simulated need no real disk, where there is a place without one."""


class Violation(msgspec.Struct, frozen=True):
    """Something that must never be true, and was."""

    check: str
    sentence: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a seed."""

    seed: int
    trace_hash: str
    virtual_s: float
    rage_s: float
    steps: int
    calls: int
    crashes: int
    orders: int
    survived: dict[Fault, int]
    faults: list[Fault]
    """Those that this seed had."""
    violations: list[Violation]
    notes: list[str]
    """The last things that happened, or all of them."""


def simulate(seed: int, options: Options, *, trace: bool = False) -> Report:
    """Live through one seed. With `trace`, the report has every note."""
    folder = Path(tempfile.mkdtemp(prefix="bestex-sim-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        with _undisturbed(), LogCapture() as logs, ablated(options.without):
            return _simulate(seed, options, folder, logs, keep_all=trace)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No garbage is collected in the middle of a run: when it is, objects run code of ours.

    Killed tasks are let go of at the end. What Python finds when it unwinds them then is of no interest.
    """
    global _settled  # noqa: PLW0603 - once a process
    if not _settled:
        gc.collect()
        gc.freeze()
        _settled = True
    enabled, told = gc.isenabled(), sys.unraisablehook
    gc.disable()
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # coroutines that were killed before they began
            if gc.get_count()[0] > _GARBAGE:
                gc.collect()
        sys.unraisablehook = told
        if enabled:
            gc.enable()


def _simulate(seed: int, options: Options, folder: Path, logs: LogCapture, *, keep_all: bool) -> Report:
    chance = Chance(seed)
    loop = SimLoop(chance.stream("schedule"), shuffle=options.shuffle)  # type: ignore[abstract]
    trace = Trace(loop.time, keep_all=keep_all)
    weather = Weather.draw(chance.stream("weather"), options.faults, intense=options.intense)
    world = World(chance, weather, trace, folder, options)
    violations: list[Violation] = []

    async def live() -> None:
        ended = await world.run()
        if not ended:
            violations.append(Violation("everything_ends", "orders or clients had not ended in time"))
        evidence = await world.close(ended, logs)
        for check in CHECKS:
            violations.extend(Violation(check.__name__, sentence) for sentence in check(evidence))

    try:
        loop.run(live())
    except (Deadlock, Livelock) as error:
        violations.append(Violation("time_goes_on", str(error)))
    finally:
        world.disk.close()
        loop.close()
    violations += [Violation("no_exception_is_unhandled", _told(fault)) for fault in loop.faults]
    violations += [Violation("no_defect_is_logged", line) for line in (*logs.defects, *world.defects)]
    return Report(
        seed=seed,
        trace_hash=trace.hash,
        virtual_s=loop.time(),
        rage_s=world.rage_s,
        steps=loop.steps,
        calls=world.calls,
        crashes=world.crashes,
        orders=sum(posted.accepted for posted in world.record.posted),
        survived=dict(trace.survived),
        faults=list(weather.weights),
        violations=violations,
        notes=trace.notes,
    )


def _told(fault: dict[str, object]) -> str:
    error = fault.get("exception")
    return f"{fault.get('message')}: {type(error).__name__}: {error}"
