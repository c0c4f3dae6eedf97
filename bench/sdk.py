"""Our quotes beside the vendors' official packages, on the same pools and swaps: `python -m bench sdk`.

The pools and swaps are recorded ones (tests/golden), so that both sides are also held against what the on-chain program
itself answered: the program is the truth, the packages are not. They are an oracle and never a dependency: this
benchmark installs them with npm into a directory outside of the project, and drives them through their public functions
(the scripts in bench/sdk). What lies inside each timing is told in bench/sdk/README.md.
"""

import argparse
import base64
import gzip
import json
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import Account, ChainClock, SwapMode
from bestex.venues import PROGRAMS
from bestex.venues.pool import Pool, Venue, VenueProgram

PROJECT = Path(__file__).resolve().parent.parent
RECORDED = PROJECT / "tests" / "golden"
SCRIPTS = PROJECT / "bench" / "sdk"
DEFAULT_PACKAGES = Path.home() / ".cache" / "bestex" / "sdk"
MANIFEST_NAME = "bestex-bench-sdk"
DLMM, DAMM, RAYDIUM = "@meteora-ag/dlmm", "@meteora-ag/cp-amm-sdk", "@raydium-io/raydium-sdk-v2"
VERSIONS = {DLMM: "1.9.14", DAMM: "1.5.0", RAYDIUM: "0.2.73-alpha"}
INSTALL_SECONDS = 600
LEAST_AMOUNT = 10_000_000
"""Swaps that are timed have at least this many base units, so that their amounts can be varied by little."""
FRESH_POOLS = 64
"""Pools that are decoded for one round of first quotes."""
WARM_UP_NS = 400_000_000
"""How long the package's functions run before the first figure, so that the JIT compiler has seen them."""


class Case(NamedTuple):
    """What is measured of a venue."""

    package: str
    pools: tuple[str, ...]
    """Names in the recording: plain pools, open, without transfer fees."""
    walks: bool = False
    """Whether swaps pass through bins or ticks, so that some are longer than others."""


CASES = {
    Venue.RAYDIUM_CPMM: Case(RAYDIUM, ("fee_25bp_accrued", "huge")),
    Venue.RAYDIUM_AMM_V4: Case(RAYDIUM, ("base", "huge")),
    Venue.RAYDIUM_CLMM: Case(RAYDIUM, ("mid_sp10", "dense_sp1"), walks=True),
    Venue.METEORA_DLMM: Case(DLMM, ("step100", "hundred_bins"), walks=True),
    Venue.METEORA_DAMM_V2: Case(DAMM, ("flat_full", "dyn_sched")),
}


class Unavailable(Exception):
    """The packages cannot be had or driven; the message is for the reader."""


class Swap(NamedTuple):
    """An exact-in swap that the program accepted."""

    in_mint: str
    amount: int
    paid: int
    received: int
    compute_units: int
    newer_received: int | None
    """What a newer build of the program would pay, where the recording tells that it differs."""


class Settings(NamedTuple):
    """How long to measure."""

    rounds: int
    round_ns: int
    """Of one side in one round."""


class RecordedPool(NamedTuple):
    """A pool with its swaps."""

    name: str
    clock: Mapping[str, int]
    accounts: Mapping[str, Any]
    swaps: tuple[Swap, ...]


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


def recorded_pools(venue: Venue) -> dict[str, RecordedPool]:
    """The pools without transfer fees that accepted a plain exact-in swap."""
    recording = json.loads(gzip.decompress((RECORDED / f"{venue.value}.json.gz").read_bytes()))
    swaps: dict[str, list[Swap]] = {}
    for each in recording["swaps"]:
        if each["ok"] and each["mode"] == "exact_in" and "sqrt_price_limit" not in each:
            swaps.setdefault(each["pool"], []).append(_swap(each))
    return {
        pool["name"]: RecordedPool(pool["name"], pool["clock"], pool["accounts"], tuple(swaps[pool["name"]]))
        for pool in recording["pools"]
        if pool["name"] in swaps and not _has_transfer_fee(pool)
    }


def _swap(raw: Mapping[str, Any]) -> Swap:
    newer = raw.get("strict_ceil")
    return Swap(
        in_mint=raw["input_mint"],
        amount=int(raw["amount"]),
        paid=int(raw["amount_in"]),
        received=int(raw["amount_out"]),
        compute_units=raw["cu"],
        newer_received=None if newer is None else int(newer),
    )


def _has_transfer_fee(pool: Mapping[str, Any]) -> bool:
    return any("transfer_fee" in value for name, value in pool["params"].items() if name.startswith("mint_"))


def chosen_swaps(pool: RecordedPool, *, walks: bool) -> tuple[int, ...]:
    """Indexes of the swaps to time: the one of middling size, or where swaps walk the ones with least and most steps.

    Recorded compute units stand for the number of steps. Swaps that pay nothing out or are
    smaller than LEAST_AMOUNT do not count.
    """
    swaps = pool.swaps
    paying = [index for index, swap in enumerate(swaps) if swap.received > 0 and swap.amount >= LEAST_AMOUNT]
    if not walks:
        return (sorted(paying, key=lambda index: swaps[index].amount)[len(paying) // 2],)
    by_cost = sorted(paying, key=lambda index: swaps[index].compute_units)
    return by_cost[0], by_cost[-1]


def install(packages: Path) -> None:
    """Have the pinned packages in this directory. Raises Unavailable, naming what is missing."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        raise Unavailable(f"{' and '.join(missing)} not found: the vendors' packages run on Node.js 20 or newer")
    if packages.is_relative_to(PROJECT):
        raise Unavailable("The packages do not belong into the project: name a directory outside of it")
    if all(installed_version(packages, name) == version for name, version in VERSIONS.items()):
        return
    manifest = packages / "package.json"
    if packages.is_dir() and any(packages.iterdir()) and _manifest_name(manifest) != MANIFEST_NAME:
        raise Unavailable(f"{packages} holds something else: name an empty or a new directory")
    packages.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"name": MANIFEST_NAME, "private": True, "dependencies": VERSIONS}, indent=2))
    print(f"Installing {', '.join(f'{name} {version}' for name, version in VERSIONS.items())}", flush=True)
    command = [
        "npm",
        "install",
        "--ignore-scripts",
        "--omit-lockfile-registry-resolved=true",
        "--no-audit",
        "--no-fund",
    ]
    try:
        subprocess.run(command, cwd=packages, capture_output=True, text=True, check=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"npm install did not end within {INSTALL_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"npm install failed with status {error.returncode}:\n{error.stderr.strip()}") from None


def installed_version(packages: Path, name: str) -> str | None:
    """Version of a package in the directory; None if it is not there."""
    try:
        version = json.loads((packages / "node_modules" / name / "package.json").read_text())["version"]
    except (OSError, ValueError, KeyError):
        return None
    return str(version)


def _manifest_name(manifest: Path) -> str | None:
    try:
        return str(json.loads(manifest.read_text()).get("name"))
    except (OSError, ValueError):
        return None


class Package:
    """A vendor's package in its own process, which works only while it is asked."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.functions: tuple[str, ...] = ()
        """Quote functions, the leanest first."""

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request and its answer. Raises Unavailable if the script fails."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": "the script ended"}
        if "error" in answer:
            raise Unavailable(f"bench/sdk: {request['op']}: {answer['error']}")
        return dict(answer)

    def open(self, pools: list[RecordedPool]) -> None:
        """Give it the pools; they are known by their place in the list from now on."""
        described = [pool._asdict() | {"swaps": [_request(swap) for swap in pool.swaps]} for pool in pools]
        self.functions = tuple(self.ask(op="open", pools=described)["functions"])

    def amounts(self, pool: int, swap: int, function: str) -> tuple[int, int] | str:
        """What is paid and received, or why the package refuses."""
        answer = self.ask(op="answer", pool=pool, swap=swap, function=function)
        return str(answer["refused"]) if "refused" in answer else (int(answer["in"]), int(answer["out"]))

    def timer(self, what: str, pool: int, swap: int, function: str) -> Callable[[int], int]:
        """Nanoseconds of so many calls of one of: further quotes, first quote, decode, decode + first quote."""

        asked = 0

        def run(count: int) -> int:
            nonlocal asked
            where = {"pool": pool, "swap": swap, "function": function}
            answer = self.ask(op="time", what=what, **where, asked=asked, count=count)
            asked += count
            return int(answer["ns"])

        return run


def _request(swap: Swap) -> dict[str, str]:
    return {"input_mint": swap.in_mint, "amount": str(swap.amount)}


@contextmanager
def started(packages: Path, venue: Venue) -> Iterator[Package]:
    """The package behind a venue's script, until the block ends."""
    command = ["node", "--no-warnings", str(SCRIPTS / "measure.mjs"), str(packages), venue.value]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Package(process)


class OurPool:
    """A recorded pool on our side."""

    def __init__(self, program: VenueProgram, recorded: RecordedPool) -> None:
        """Raises UnsupportedPool."""
        self._program = program
        self._accounts = {
            Pubkey.from_string(each["pubkey"]): Account(
                Pubkey.from_string(each["owner"]), each["lamports"], base64.b64decode(each["data"])
            )
            for each in recorded.accounts.values()
        }
        self._address = next(iter(self._accounts))
        self._clock = ChainClock(**recorded.clock)
        self._arguments = [
            (Pubkey.from_string(swap.in_mint), swap.amount, SwapMode.EXACT_IN, self._clock) for swap in recorded.swaps
        ]
        self._pool: Pool = program.decode(self._address, self._accounts)

    def steps(self, swap: int) -> int:
        """Bins or ticks of a swap."""
        return self._pool.quote(*self._arguments[swap]).steps

    def amounts(self, swap: int) -> tuple[int, int] | str:
        """What is paid and received, or why we refuse."""
        try:
            quote = self._pool.quote(*self._arguments[swap])
        except SwapRefused as error:
            return error.message
        return quote.in_amount, quote.out_amount

    def timer(self, what: str, swap: int) -> Callable[[int], int]:
        """Nanoseconds of so many calls, see `Package.timer`."""
        decode, address, accounts = self._program.decode, self._address, self._accounts
        mint, amount, mode, clock = self._arguments[swap]
        asked = 0

        def run(count: int) -> int:
            nonlocal asked
            amounts = varied(amount, asked, count)
            asked += count
            fresh = [decode(address, accounts).quote for _ in amounts] if what == "first quote" else []
            quote = self._pool.quote
            start = time.perf_counter_ns()
            if what == "further quotes":
                for each in amounts:
                    quote(mint, each, mode, clock)
            elif what == "first quote":
                for each, first in zip(amounts, fresh, strict=True):
                    first(mint, each, mode, clock)
            elif what == "decode":
                for _ in amounts:
                    decode(address, accounts)
            else:
                for each in amounts:
                    decode(address, accounts).quote(mint, each, mode, clock)
            return time.perf_counter_ns() - start

        return run


def varied(amount: int, asked: int, count: int) -> list[int]:
    """Amounts for so many calls after those `asked`, within one percent: none is an answer that a side has kept."""
    spread = max(1, min(amount // 100, 2**25))
    return [amount - at % spread for at in range(asked, asked + count)]


def our_pool(program: VenueProgram | None, recorded: RecordedPool) -> OurPool | None:
    """The pool on our side; None if we do not trade on the venue or refuse the pool."""
    try:
        return OurPool(program, recorded) if program is not None else None
    except UnsupportedPool:
        return None


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
