"""`bestex venues`: recordings held against the venues, from the command line."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bestex.venues import PROGRAMS
from bestex.venues.pool import Venue
from tests.support.venues import golden, golden_path

from .conftest import Outcome

Run = Callable[..., Outcome]
AMM = golden_path(Venue.RAYDIUM_AMM_V4)


def falsified(path: Path, tmp_path: Path) -> Path:
    """The recording with one output off by one, as plain JSON."""
    document = json.loads(gzip.decompress(path.read_bytes()))
    swap = next(swap for swap in document["swaps"] if swap["ok"])
    swap["amount_out"] = str(int(swap["amount_out"]) + 1)
    target = tmp_path / "falsified.json"
    target.write_text(json.dumps(document))
    return target


def test_a_true_recording_passes(bestex: Run) -> None:
    ran = bestex("venues", "verify", str(AMM))

    assert ran.exit_code == 0
    lines = ran.stdout.splitlines()
    recording = golden(Venue.RAYDIUM_AMM_V4)
    steps = sum(len(sequence.steps) for sequence in recording.sequences)
    assert lines[-1] == f"{len(recording.pools) + len(recording.swaps) + steps} passed, 0 failed"
    assert lines[0] == f"{AMM}: Raydium AMM v4, build {recording.program_sha256[:16]}"
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == [pool.name for pool in recording.pools]
    assert all(": ok (1 decoded, 1 encoded, " in line for line in lines[1:-1])


def test_each_disagreement_is_printed_in_full(bestex: Run, tmp_path: Path) -> None:
    ran = bestex("venues", "verify", str(falsified(AMM, tmp_path)), str(AMM))

    assert ran.exit_code == 1
    lines = ran.stdout.splitlines()
    at = next(index for index, line in enumerate(lines) if "1 FAILED" in line)
    assert lines[at + 1].strip().endswith(": quote")
    assert lines[at + 2].startswith("      program: ")
    assert lines[at + 3].startswith("      bestex:  ")
    assert lines[-1].endswith(" passed, 1 failed")
    recording = golden(Venue.RAYDIUM_AMM_V4)
    vectors = len(recording.pools) + len(recording.swaps) + sum(len(one.steps) for one in recording.sequences)
    assert lines[-1] == f"{2 * vectors - 1} passed, 1 failed"


def test_another_build_is_mentioned(bestex: Run, tmp_path: Path) -> None:
    document = json.loads(gzip.decompress(AMM.read_bytes()))
    path = tmp_path / "other.json"
    path.write_text(json.dumps({**document, "program_sha256": "ab" * 32, "pools": [], "swaps": [], "sequences": []}))

    ran = bestex("venues", "verify", str(path))

    assert ran.exit_code == 0
    assert "build abababababababab; not the build that ours was proven against (d3f6906a8e284786)" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "0 passed, 0 failed"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "not a recording"), (b"{}", "not a recording"), (None, "No such file or directory")],
)
def test_what_is_no_recording(bestex: Run, tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)

    ran = bestex("venues", "verify", str(path))

    assert ran.exit_code == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith(f"bestex: {path}: {reason}")
    assert ran.stderr.count("\n") == 1


def test_a_program_that_we_do_not_trade_on(bestex: Run, tmp_path: Path) -> None:
    document = json.loads(gzip.decompress(AMM.read_bytes()))
    path = tmp_path / "other.json"
    path.write_text(json.dumps({**document, "program_id": "1" * 32}))

    ran = bestex("venues", "verify", str(path))

    assert ran.exit_code == 2
    assert "no venue has the program" in ran.stderr


def test_list_names_program_and_build(bestex: Run) -> None:
    listed = bestex("venues", "list")

    assert listed.exit_code == 0
    for address, program in PROGRAMS.items():
        (line,) = [line for line in listed.stdout.splitlines() if str(address) in line]
        assert line.startswith(program.VENUE.label)
        assert line.endswith(program.PROGRAM_SHA256[:16])
