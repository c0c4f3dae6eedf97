"""What `bestex sim` does."""

import shlex
import sys
import time

import msgspec
import typer

from bestex.cli.exits import ExitCode, fail
from bestex.cli.output import print_line
from bestex.sim.ablations import ABLATIONS
from bestex.sim.explore import Summary, cut_every_call, explore, shrink
from bestex.sim.faults import Fault
from bestex.sim.simulate import Report, simulate
from bestex.sim.world import Options

_PROGRESS_S = 2.0


def options(
    *, faults: str | None, intense: bool, orders: int | None, rage_s: float | None, without: str | None
) -> Options:
    """What the command's options ask for. Ends the command where they are wrong."""
    known = Options(faults=_faults(faults), intense=intense, rage_s=rage_s, without=_safeguard(without))
    return known if orders is None else msgspec.structs.replace(known, orders=orders)


def replay(seed: int, options: Options, *, trace: bool) -> None:
    """Run one seed, and show how it ended."""
    report = simulate(seed, options, trace=trace)
    _print_notes(report)
    _finish(report.violations != [], f"seed {report.seed}: trace {report.trace_hash}")


def explore_seeds(asked: str, options: Options, jobs: int, *, shrinking: bool) -> None:
    """Run seeds until one fails; show that one small."""
    seeds = _range(asked)
    summary, began_s = Summary(), time.monotonic()
    told_s = began_s
    for report in explore(seeds, options, jobs=jobs):
        summary.add(report)
        now_s = time.monotonic()
        if now_s - told_s >= _PROGRESS_S:
            told_s = now_s
            sys.stderr.write(f"{_counted(summary, now_s - began_s)}\n")
        if report.violations:
            break
    for report in summary.failures:
        _print_failure(report, shrink(report, options) if shrinking else options)
    for fault, count in sorted(summary.survived.items()):
        print_line(f"  {fault.value:20} {count}")
    _finish(bool(summary.failures), _counted(summary, time.monotonic() - began_s))


def cut_calls(options: Options) -> None:
    """One order, cut at each of its calls in turn."""
    runs = failed = 0
    for plan, report in cut_every_call(0, options):
        runs += 1
        if report.violations:
            failed += 1
            print_line(f"call {plan.number}, {plan.cut}:")
            _print_violations(report)
    _finish(failed > 0, f"{runs} runs, each with one call cut: {failed} failed")


def _counted(summary: Summary, real_s: float) -> str:
    return (
        f"{summary.seeds} seeds, {summary.orders} orders, {summary.virtual_s / 3600:.1f} virtual hours, "
        f"{summary.crashes} crashes, {sum(summary.survived.values())} faults, {len(summary.failures)} failures; "
        f"{summary.virtual_s / real_s:.0f} times real time"
    )


def _print_failure(report: Report, small: Options) -> None:
    print_line(f"seed {report.seed} FAILED, with {', '.join(sorted(report.faults)) or 'no faults'}")
    _print_violations(report)
    print_line("  the last that happened:")
    for note in report.notes:
        print_line(f"    {note}")
    print_line(f"  replay: {_command(report.seed, small)}")


def _print_violations(report: Report) -> None:
    for violation in report.violations:
        print_line(f"  {violation.check}: {violation.sentence}")


def _print_notes(report: Report) -> None:
    for note in report.notes:
        print_line(note)
    _print_violations(report)


def _command(seed: int, options: Options) -> str:
    """What runs the same world again."""
    words = ["bestex", "sim", "--replay", str(seed), "--trace"]
    if options.faults is not None:
        words += ["--faults", ",".join(sorted(options.faults)) or "none"]
    words += ["--orders", str(options.orders)]
    if options.rage_s is not None:
        words += ["--rage", f"{options.rage_s:g}"]
    if options.intense:
        words.append("--intense")
    if options.without is not None:
        words += ["--without", options.without]
    return shlex.join(words)


def _finish(failed: bool, line: str) -> None:
    print_line(line)
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def _range(text: str) -> range:
    first, colon, last = text.partition(":")
    try:
        seeds = range(int(first), int(last) if colon else int(first) + 1)
    except ValueError as error:
        raise fail(f"--seeds takes FROM:TO, not {text!r}", ExitCode.USAGE) from error
    if not seeds:
        raise fail(f"--seeds {text} names no seed: TO must be above FROM", ExitCode.USAGE)
    return seeds


def _faults(text: str | None) -> frozenset[Fault] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip() not in ("", "none")]
    unknown = sorted(set(names) - {fault.value for fault in Fault})
    if unknown:
        raise fail(f"no fault is called {', '.join(unknown)}; there are {', '.join(Fault)}", ExitCode.USAGE)
    return frozenset(map(Fault, names))


def _safeguard(name: str | None) -> str | None:
    if name is not None and name not in ABLATIONS:
        raise fail(f"no safeguard is called {name}; there are {', '.join(ABLATIONS)}", ExitCode.USAGE)
    return name
