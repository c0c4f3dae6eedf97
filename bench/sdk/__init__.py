"""Our quotes beside the vendors' official packages, on the same pools and swaps: `python -m bench sdk`.

The pools and swaps are recorded ones (tests/golden), so that both sides are also held against what the on-chain program
itself answered: the program is the truth, the packages are not. They are an oracle and never a dependency: this
benchmark installs them with npm into a directory outside of the project, and drives them through their public functions
(the scripts beside this file). What lies inside each timing is told in bench/sdk/README.md.
"""

import argparse
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.sdk.cases import CASES, VERSIONS, Case, RecordedPool, chosen_swaps, recorded_pools
from bench.sdk.ours import OurPool, our_pool
from bench.sdk.packages import DEFAULT_PACKAGES, Package, Unavailable, install, started
from bestex.venues import PROGRAMS
from bestex.venues.pool import Venue, VenueProgram

FRESH_POOLS = 64
"""Pools that are decoded for one round of first quotes."""
WARM_UP_NS = 400_000_000
"""How long the package's functions run before the first figure, so that the JIT compiler has seen them."""


class Settings(NamedTuple):
    """How long to measure."""

    rounds: int
    round_ns: int
    """Of one side in one round."""


class Times(NamedTuple):
    """Microseconds of one call in each round."""

    ours: list[float]
    """Empty where we do not quote this pool."""
    theirs: list[float]


class Outcome(NamedTuple):
    """Agreement with the program's amounts."""

    equal: int
    newer: int
    """Of the others: equal to what a newer build of the program pays."""
    total: int
    examples: tuple[str, ...]
    """One of each pool where it differs."""


def measured(
    ours: Callable[[int], int] | None, theirs: Callable[[int], int], settings: Settings, most: int | None = None
) -> Times:
    """Both sides in turns, never at the same moment; not more than `most` calls a round."""
    _calls_within(theirs, WARM_UP_NS, most)
    their_count = _calls_within(theirs, settings.round_ns, most)
    our_count = _calls_within(ours, settings.round_ns, most) if ours else 0
    times = Times([], [])
    for _ in range(settings.rounds):
        if ours:
            times.ours.append(ours(our_count) / our_count / 1_000)
        times.theirs.append(theirs(their_count) / their_count / 1_000)
    return times


def _calls_within(run: Callable[[int], int], wanted_ns: int, most: int | None) -> int:
    """How many calls take about this long, found by calling."""
    count, spent = 1, run(1)
    while spent < wanted_ns // 2 and (most is None or count < most):
        count *= 2
        spent = run(count)
    return count


def agreement(amounts_of: Callable[[int, int], tuple[int, int] | str], pools: list[RecordedPool]) -> Outcome:
    """Hold a side's answers (by pool and swap) against the program's."""
    equal = newer = total = 0
    examples: dict[str, str] = {}
    for at, pool in enumerate(pools):
        for index, swap in enumerate(pool.swaps):
            total += 1
            answer = amounts_of(at, index)
            if answer == (swap.paid, swap.received):
                equal += 1
            elif answer == (swap.paid, swap.newer_received):
                newer += 1
            elif pool.name not in examples:
                told = answer if isinstance(answer, str) else f"{answer[1]:,} for {answer[0]:,}"
                examples[pool.name] = f"{pool.name}: pays {swap.received:,} for {swap.paid:,}, not {told}"
    return Outcome(equal, newer, total, tuple(examples.values()))


def print_times(
    case: Case, program: VenueProgram | None, package: Package, pools: list[RecordedPool], settings: Settings
) -> None:
    """The table of one venue."""
    package.open(pools)
    print(f"{'':54}{'ours':>9}{'':9}{'package':>10}{'':10}{'package':>9}  as the program")
    print(f"{'':54}{'min':>9}{'median':>9}{'min':>10}{'median':>10}{'/ ours':>9}  ours package")
    for at, recorded in enumerate(pools):
        ours = our_pool(program, recorded)
        swaps = chosen_swaps(recorded, walks=case.walks)
        for swap in swaps:
            print(f"{recorded.name}, {recorded.swaps[swap].amount:,} in{_steps(ours, swap) if case.walks else ''}")
            for function in package.functions:
                print_time("further quotes", ours, package, (at, recorded, swap, function), settings)
            for what in ("first quote", "decode + first quote"):
                print_time(what, ours, package, (at, recorded, swap, package.functions[0]), settings)
        print(recorded.name)
        print_time("decode", ours, package, (at, recorded, swaps[0], package.functions[0]), settings)


def _steps(ours: OurPool | None, swap: int) -> str:
    if ours is None:
        return ""
    steps = ours.steps(swap)
    return f", {steps} step{'s' if steps > 1 else ''}"


def print_time(
    what: str, ours: OurPool | None, package: Package, where: tuple[int, RecordedPool, int, str], settings: Settings
) -> None:
    """Measure and print one line."""
    at, recorded, index, function = where
    our_timer = ours.timer(what, index) if ours else None
    most = FRESH_POOLS if what == "first quote" else None
    times = measured(our_timer, package.timer(what, at, index, function), settings, most)
    label = "  " + (f"{what}, {function}" if what != "decode" else what)
    our_columns, ratio = f"{'-':>9}{'-':>9}", "-"
    if times.ours:
        our_columns = f"{min(times.ours):9.2f}{statistics.median(times.ours):9.2f}"
        ratio = f"{min(times.theirs) / min(times.ours):.1f}"
    their_columns = f"{min(times.theirs):10.2f}{statistics.median(times.theirs):10.2f}"
    marks = ""
    if what == "further quotes":
        truth = recorded.swaps[index].paid, recorded.swaps[index].received
        our_mark = "-" if ours is None else _mark(ours.amounts(index) == truth)
        marks = f"  {our_mark:4} {_mark(package.amounts(at, index, function) == truth)}"
    print(f"{label:54}{our_columns}{their_columns}{ratio:>9}{marks}", flush=True)


def _mark(equal: bool) -> str:
    return "yes" if equal else "NO"


def print_agreement(program: VenueProgram | None, package: Package, pools: list[RecordedPool]) -> None:
    """Every recorded plain swap of the venue, both sides against the program."""
    package.open(pools)
    ours = [our_pool(program, recorded) for recorded in pools]
    quoted = {at: pool for at, pool in enumerate(ours) if pool is not None}

    def our_amounts(at: int, index: int) -> tuple[int, int] | str:
        return quoted[at].amounts(index) if at in quoted else "refused as unsupported"

    print(f"All {sum(len(pool.swaps) for pool in pools)} accepted exact-in swaps without transfer fee or price limit:")
    if program is not None:
        _print_outcome("ours", agreement(our_amounts, pools))
    for function in package.functions:

        def their_amounts(at: int, index: int, function: str = function) -> tuple[int, int] | str:
            return package.amounts(at, index, function)

        _print_outcome(function, agreement(their_amounts, pools))


def _print_outcome(side: str, outcome: Outcome) -> None:
    newer = f", {outcome.newer} as a newer build of the program pays" if outcome.newer else ""
    print(f"  {side}: {outcome.equal} of {outcome.total} equal to the program{newer}")
    for example in outcome.examples:
        print(f"      {example}")


def compare(venue: Venue, packages: Path, settings: Settings) -> None:
    """Times and amounts of one venue. Raises Unavailable."""
    case = CASES[venue]
    program = next((each for each in PROGRAMS.values() if each.VENUE is venue), None)
    print(
        f"\n{venue.label}: {case.package} {VERSIONS[case.package]}" + ("" if program else "; not one of our venues yet")
    )
    pools = recorded_pools(venue)
    with started(packages, venue) as package:
        print_times(case, program, package, [pools[name] for name in case.pools], settings)
        print_agreement(program, package, list(pools.values()))


def main(argv: list[str]) -> int:
    """Print the tables; exit status 1 with a message if the packages cannot be had."""
    parser = argparse.ArgumentParser(prog="bench sdk", description=__doc__)
    parser.add_argument("--venue", action="append", choices=[venue.value for venue in CASES], help="default: all")
    parser.add_argument("--packages", type=Path, default=DEFAULT_PACKAGES, help="where the packages are installed")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--milliseconds", type=float, default=20.0, help="length of a round of one side")
    options = parser.parse_args(argv)
    packages = options.packages.expanduser().resolve()
    try:
        install(packages)
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
        machine = f"{platform.machine()}, {platform.processor() or platform.system()}"
        print(
            f"Python {platform.python_version()}, Node.js {node.removeprefix('v')} on {machine}; microseconds a call,"
        )
        print(f"{options.rounds} rounds of {options.milliseconds:g} ms a side, one after the other")
        for venue in [Venue(name) for name in options.venue or CASES]:
            compare(venue, packages, Settings(options.rounds, int(options.milliseconds * 1_000_000)))
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0
