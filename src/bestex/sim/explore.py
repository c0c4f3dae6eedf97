"""Many seeds: run them side by side, make what fails small, and cut one order's life at every call."""

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import msgspec

from bestex.sim.ablations import ABLATIONS
from bestex.sim.cuts import Cut
from bestex.sim.faults import Fault
from bestex.sim.simulate import Report, simulate
from bestex.sim.world import Options

_CHUNK = 8
_CUTS = (Cut.CRASH_BEFORE, Cut.CRASH_AFTER, Cut.TIMEOUT_AFTER, Cut.TWICE)


class Summary(msgspec.Struct):
    """What many seeds have shown."""

    seeds: int = 0
    orders: int = 0
    crashes: int = 0
    virtual_s: float = 0.0
    survived: Counter[Fault] = msgspec.field(default_factory=Counter)
    failures: list[Report] = msgspec.field(default_factory=list)

    def add(self, report: Report) -> None:
        self.seeds += 1
        self.orders += report.orders
        self.crashes += report.crashes
        self.virtual_s += report.virtual_s
        self.survived.update(report.survived)
        if report.violations:
            self.failures.append(report)


class NthCall(msgspec.Struct, frozen=True):
    """A plan that cuts one call."""

    number: int
    cut: Cut

    def __call__(self, number: int, _call: str, /) -> Cut:
        return self.cut if number == self.number else Cut.NONE


def explore(seeds: Sequence[int], options: Options, *, jobs: int) -> Iterator[Report]:
    """Run seeds, several at once; reports come as they are ready, in the order of the seeds."""
    chunks = [seeds[at : at + _CHUNK] for at in range(0, len(seeds), _CHUNK)]
    if jobs == 1:
        for seed in seeds:
            yield simulate(seed, options)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for reports in pool.map(_run, chunks, [options] * len(chunks)):
                yield from reports
        finally:
            pool.shutdown(cancel_futures=True)


def _run(seeds: Sequence[int], options: Options) -> list[Report]:
    return [simulate(seed, options) for seed in seeds]


def one_order(options: Options) -> Options:
    """The world of one order without any trouble."""
    return msgspec.structs.replace(options, orders=1, faults=frozenset())


def cut_every_call(seed: int, options: Options, numbers: Sequence[int] = ()) -> Iterator[tuple[NthCall, Report]]:
    """One order without other trouble, and each of its port calls, or those of `numbers`, cut in each way."""
    options = one_order(options)
    for number in numbers or range(1, simulate(seed, options).calls + 1):
        for cut in _CUTS:
            plan = NthCall(number, cut)
            yield plan, simulate(seed, msgspec.structs.replace(options, plan=plan))


def first_break(name: str) -> Report | None:
    """The first seed that shows why a safeguard is needed; None if none does within the bound of the ablation."""
    ablation = ABLATIONS[name]
    for seed in range(ablation.within_seeds):
        report = simulate(seed, Options(**ablation.world(name)))
        if any(violation.check in ablation.breaks for violation in report.violations):
            return report
    return None


def shrink(report: Report, options: Options, tried: Callable[[Options], None] = lambda _: None) -> Options:
    """Options as small as they can be made while the seed still breaks one of the same checks."""
    broken = {violation.check for violation in report.violations}

    def fails(candidate: Options) -> bool:
        tried(candidate)
        return any(violation.check in broken for violation in simulate(report.seed, candidate).violations)

    small = msgspec.structs.replace(options, faults=frozenset(report.faults))
    for fault in report.faults:
        candidate = msgspec.structs.replace(small, faults=(small.faults or frozenset()) - {fault})
        if fails(candidate):
            small = candidate
    while small.orders > 1 and fails(fewer := msgspec.structs.replace(small, orders=small.orders // 2)):
        small = fewer
    rage_s = report.rage_s
    small = msgspec.structs.replace(small, rage_s=rage_s)
    while rage_s > 5.0 and fails(shorter := msgspec.structs.replace(small, rage_s=rage_s / 2)):
        small, rage_s = shorter, rage_s / 2
    return small
