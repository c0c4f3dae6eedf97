"""`bestex sim`: progress, failures that can be replayed, and usage that is told."""

import re
from collections.abc import Callable

import pytest

from .conftest import Outcome

Run = Callable[..., Outcome]
SHORT = ("--rage", "20", "--orders", "2")


def test_sound_worlds_end_with_a_summary(bestex: Run) -> None:
    ran = bestex("sim", "--seeds", "0:3", "--jobs", "1", *SHORT)

    assert ran.exit_code == 0
    assert re.search(
        r"^3 seeds, \d+ orders, [\d.]+ virtual hours, \d+ crashes, \d+ faults, 0 failures; ", ran.stdout, re.MULTILINE
    )


def test_a_broken_promise_is_shown_made_small_and_can_be_replayed(bestex: Run) -> None:
    ran = bestex("sim", "--seeds", "0:20", "--jobs", "1", "--without", "confirmed_means_final", "--rage", "40")

    assert ran.exit_code == 1
    assert "stored_fill_is_chain_truth: order " in ran.stdout
    assert "the last that happened:" in ran.stdout
    command = re.search(r"replay: bestex (sim --replay .*)$", ran.stdout, re.MULTILINE)
    assert command is not None
    again = bestex(*command[1].split())
    assert again.exit_code == 1
    assert "stored_fill_is_chain_truth: order " in again.stdout


def test_a_replay_is_the_same_every_time(bestex: Run) -> None:
    one, again = (bestex("sim", "--replay", "3", "--trace", *SHORT) for _ in range(2))

    assert one.exit_code == 0
    assert one.stdout == again.stdout
    assert len(one.stdout.splitlines()) > 50
    assert len(bestex("sim", "--replay", "3", *SHORT).stdout.splitlines()) == 21


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--seeds", "many"], "--seeds takes FROM:TO"),
        (["--seeds", "5:1"], "--seeds 5:1 names no seed"),
        (["--seeds", "5:5"], "--seeds 5:5 names no seed"),
        (["--faults", "rain"], "no fault is called rain; there are lost_request"),
        (["--without", "luck"], "no safeguard is called luck; there are send_before_store"),
    ],
)
def test_wrong_usage_is_told(bestex: Run, arguments: list[str], reason: str) -> None:
    ran = bestex("sim", *arguments)

    assert ran.exit_code == 2
    assert reason in ran.stderr
