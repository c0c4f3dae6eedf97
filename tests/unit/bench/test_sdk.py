"""The comparison with the vendors' packages: what is chosen and how it is judged, without any package."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from bench import sdk
from bench.sdk import Settings, cases
from bench.sdk.cases import RecordedPool, Swap
from bench.sdk.packages import Unavailable, install

from bestex.venues import PROGRAMS
from bestex.venues.pool import Venue

MINT = "So11111111111111111111111111111111111111112"
LARGE = cases.LEAST_AMOUNT


def pool(*swaps: Swap) -> RecordedPool:
    return RecordedPool("pool", {"slot": 1, "unix_timestamp": 1, "epoch": 1}, {}, swaps)


def swap(amount: int, received: int, compute_units: int = 0, newer: int | None = None) -> Swap:
    return Swap(MINT, amount, amount, received, compute_units, newer)


def fake_programs(directory: Path, monkeypatch: pytest.MonkeyPatch, npm: str) -> None:
    """`node` and an `npm` of our own as the only programs."""
    for name, script in (("node", "exit 0"), ("npm", npm)):
        program = directory / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(directory))


def test_the_swap_in_the_middle_is_timed() -> None:
    swaps = (swap(9 * LARGE, 1), swap(5 * LARGE, 1), swap(7 * LARGE, 1), swap(LARGE, 0), swap(1, 1))
    assert cases.chosen_swaps(pool(*swaps), walks=False) == (2,)


def test_where_swaps_walk_the_shortest_and_longest_are_timed() -> None:
    swaps = (swap(LARGE, 1, 30), swap(LARGE, 1, 10), swap(LARGE, 1, 20), swap(LARGE, 0, 5), swap(1, 1, 1))
    assert cases.chosen_swaps(pool(*swaps), walks=True) == (1, 0)


def test_no_amount_is_asked_twice_within_one_percent() -> None:
    amounts = cases.varied(LARGE, 0, 500) + cases.varied(LARGE, 500, 500)
    assert len(set(amounts)) == 1_000
    assert LARGE >= max(amounts) > min(amounts) > LARGE * 99 // 100
    assert set(cases.varied(1, 7, 3)) == {1}


def test_answers_are_held_against_the_program() -> None:
    answers: list[tuple[int, int] | str] = [(10, 4), (10, 5), (10, 6), "no"]
    recorded = pool(*(swap(10, 4, newer=5) for _ in answers))
    outcome = sdk.agreement(lambda _pool, index: answers[index], [recorded])
    assert (outcome.equal, outcome.newer, outcome.total) == (1, 1, 4)
    assert outcome.examples == ("pool: pays 4 for 10, not 6 for 10",)


def test_sides_take_turns() -> None:
    turns: list[str] = []

    def side(name: str) -> Callable[[int], int]:
        def run(count: int) -> int:
            turns.append(name)
            return count * 1_000_000

        return run

    times = sdk.measured(side("ours"), side("theirs"), Settings(rounds=2, round_ns=8_000_000))
    assert turns[-4:] == ["ours", "theirs", "ours", "theirs"]
    assert times.ours == times.theirs == [1_000.0, 1_000.0]


@pytest.mark.parametrize("venue", cases.CASES)
def test_timed_pools_are_recorded(venue: Venue) -> None:
    pools = cases.recorded_pools(venue)
    for name in cases.CASES[venue].pools:
        assert cases.chosen_swaps(pools[name], walks=cases.CASES[venue].walks)


def test_each_of_our_venues_is_compared() -> None:
    assert {program.VENUE for program in PROGRAMS.values()} <= set(cases.CASES)


def test_packages_are_never_installed_into_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_programs(tmp_path, monkeypatch, npm="exit 0")
    with pytest.raises(Unavailable, match="outside of it"):
        install(cases.PROJECT / "node_modules")


def test_a_directory_with_something_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_programs(tmp_path, monkeypatch, npm="exit 0")
    manifest = tmp_path / "package.json"
    manifest.write_text('{"name": "other"}')
    with pytest.raises(Unavailable, match="something else"):
        install(tmp_path)
    assert manifest.read_text() == '{"name": "other"}'


def test_exact_versions_are_installed_once_and_without_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, packages = tmp_path / "programs", tmp_path / "packages"
    programs.mkdir()
    fake_programs(programs, monkeypatch, npm='echo "$@" >> calls')
    install(packages)
    assert json.loads((packages / "package.json").read_text())["dependencies"] == cases.VERSIONS
    for name, version in cases.VERSIONS.items():
        installed = packages / "node_modules" / name / "package.json"
        installed.parent.mkdir(parents=True)
        installed.write_text(json.dumps({"version": version}))
    install(packages)
    (call,) = (packages / "calls").read_text().splitlines()
    assert "--ignore-scripts" in call
    assert "--omit-lockfile-registry-resolved=true" in call


def test_without_node_there_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sdk.main(["--packages", str(tmp_path / "packages")]) == 1
    assert "node and npm not found" in capsys.readouterr().err


def test_an_install_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    fake_programs(programs, monkeypatch, npm="echo unreachable >&2; exit 7")
    assert sdk.main(["--packages", str(tmp_path / "packages")]) == 1
    assert "status 7:\nunreachable" in capsys.readouterr().err
