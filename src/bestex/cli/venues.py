"""Commands about the DEX programs that we trade on: list, verify. They need no server."""

from pathlib import Path
from typing import Annotated

import typer

from bestex.cli.exits import ExitCode, fail
from bestex.cli.options import examples
from bestex.cli.output import print_line, print_table
from bestex.venues import PROGRAMS
from bestex.venues.recording import Recording, read_recording
from bestex.venues.verification import PoolReport, venue_of, verify

_ASPECTS = (
    ("decode", "decoded"),
    ("encode", "encoded"),
    ("quote", "quotes"),
    ("refusal", "refusals"),
    ("apply", "applied"),
    ("state", "states"),
    ("instruction", "instructions"),
    ("instruction read", "instructions read"),
    ("strict rounding", "strict roundings"),
)
"""What a line says of a pool, in this order, where there was any."""

venues = typer.Typer(
    help="The DEX programs that Bestex trades on, and how exactly it knows them.",
    epilog=examples("bestex venues list", "bestex venues verify tests/golden/*.json.gz"),
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(venues, name="venues")
    venues.command("list", epilog=examples("bestex venues list"))(list_venues)
    venues.command("verify", epilog=examples("bestex venues verify tests/golden/*.json.gz"))(verify_files)


def list_venues() -> None:
    """List the venues: program, and the build whose recorded answers ours were held against."""
    rows = [(program.VENUE.label, str(address), program.PROGRAM_SHA256[:16]) for address, program in PROGRAMS.items()]
    print_table(("VENUE", "PROGRAM", "PROVEN AGAINST BUILD"), rows)


def verify_files(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Recordings: JSON, gzipped or not.", show_default=False)
    ],
) -> None:
    """Hold the venues against recorded answers of the real programs: quotes, states, instructions, refusals.

    Prints a line for each pool, each disagreement in full, and how many vectors agreed; a vector is a pool, a swap or a
    step of a sequence. Exits with 1 if any disagreed, with 2 if a file is no recording. docs/reference/venues.md has
    the format.
    """
    passed = failed = 0
    for path in files:
        recording = _read(path)
        program = venue_of(recording)
        known = recording.program_sha256 == program.PROGRAM_SHA256
        note = "" if known else f"; not the build that ours was proven against ({program.PROGRAM_SHA256[:16]})"
        print_line(f"{path}: {program.VENUE.label}, build {recording.program_sha256[:16]}{note}")
        for report in verify(recording):
            _print(report)
            passed += report.passed
            failed += report.failed
    print_line(f"{passed} passed, {failed} failed")
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def _read(path: Path) -> Recording:
    try:
        recording = read_recording(path.read_bytes())
        venue_of(recording)
    except ValueError as error:
        raise fail(f"{path}: {error}", ExitCode.USAGE) from error
    except OSError as error:
        raise fail(f"{path}: {error.strerror}", ExitCode.USAGE) from error
    return recording


def _print(report: PoolReport) -> None:
    if report.refused:
        print_line(f"  {report.name}: refused, as a decoder may: {report.refused}")
        return
    agreed = [f"{report.agreed[aspect]} {word}" for aspect, word in _ASPECTS if report.agreed[aspect]]
    verdict = "ok" if not report.failed else f"{report.failed} FAILED"
    print_line(f"  {report.name}: {verdict} ({', '.join(agreed)})")
    for found in report.disagreements:
        print_line(f"    {found.vector}: {found.aspect}")
        print_line(f"      program: {found.expected}")
        print_line(f"      bestex:  {found.actual}")
