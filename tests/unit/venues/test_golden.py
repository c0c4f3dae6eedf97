"""Every recorded answer of the real programs, reproduced to the last base unit and the last byte."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bestex.venues import PROGRAMS
from bestex.venues import program_of as program_of_account
from bestex.venues.pool import Venue
from bestex.venues.recording import RecordedPool
from bestex.venues.verification import PoolReport, options_of, verify
from tests.support.venues import decoded, golden, golden_pool, program_of, refused


def pools() -> Iterator[object]:
    for venue in Venue:
        for pool in golden(venue).pools:
            yield pytest.param(venue, pool, id=f"{venue.value}-{pool.name}")


def report_on(venue: Venue, pool: RecordedPool) -> PoolReport:
    """All vectors of one pool, tried."""
    return next(verify(msgspec.structs.replace(golden(venue), pools=(pool,))))


@pytest.mark.parametrize(("venue", "recorded"), list(pools()))
def test_pool_and_its_swaps_are_as_the_program_has_them(venue: Venue, recorded: RecordedPool) -> None:
    report = report_on(venue, recorded)
    assert report.disagreements == []
    assert report.refused is None
    swaps = [swap for swap in golden(venue).swaps if swap.pool == recorded.name]
    steps = [step for run in golden(venue).sequences if run.pool == recorded.name for step in run.steps]
    assert (report.passed, report.failed) == (1 + len(swaps) + len(steps), 0)
    accepted = sum(swap.ok for swap in (*swaps, *steps))
    assert report.agreed["quote"] >= report.agreed["apply"] == accepted
    assert report.agreed["state"] == sum(bool(swap.ok and swap.post_accounts) for swap in (*swaps, *steps))
    newest = sum(swap.ix is not None and swap.instruction is None for swap in (*swaps, *steps))
    assert report.agreed["instruction"] == newest


@pytest.mark.parametrize("venue", list(Venue))
def test_recording_is_of_the_build_that_we_name(venue: Venue) -> None:
    assert golden(venue).program_sha256 == program_of(venue).PROGRAM_SHA256


@pytest.mark.parametrize("venue", list(Venue))
def test_every_recorded_error_number_has_its_name(venue: Venue) -> None:
    errors = program_of(venue).ERRORS
    recorded = {(swap.error.custom, swap.error.name) for swap in golden(venue).swaps if swap.error}
    for code, name in recorded - {(None, "panic"), (1, "token:InsufficientFunds")}:
        assert code is not None
        assert errors[code] == name


DEPENDS_ON_THE_TRANSACTION = {"balance", "balance_or_liquidity", "missing_arrays", "compute_budget"}
KINDS = {
    **{(venue, "overflow_u64"): {"overflow"} for venue in Venue},
    (Venue.RAYDIUM_CPMM, "liquidity"): {"liquidity", "overflow"},
    (Venue.RAYDIUM_CPMM, "zero_output"): {"zero_output", "zero_amount"},
    (Venue.METEORA_DLMM, "exact_out_layers"): {"liquidity"},
    (Venue.METEORA_DAMM_V2, "liquidity_or_overflow"): {"liquidity", "overflow"},
}
"""What the recordings call by another name than we do, or by one for two."""


@pytest.mark.parametrize(("venue", "recorded"), list(pools()))
def test_every_refusal_is_of_the_recorded_kind(venue: Venue, recorded: RecordedPool) -> None:
    pool: Any = golden_pool(venue, recorded.name)
    for swap in golden(venue).swaps:
        if swap.pool != recorded.name or swap.error is None or swap.error.kind == "slippage":
            continue
        if swap.error.kind not in DEPENDS_ON_THE_TRANSACTION:
            asked = swap.mint, swap.amount, swap.mode.swap_mode, recorded.clock
            answer = refused(pool, *asked, **options_of(pool, swap))
            assert answer.kind in KINDS.get((venue, swap.error.kind), {swap.error.kind})


@pytest.mark.parametrize(("venue", "recorded"), list(pools()))
def test_encode_gives_back_the_decoded_accounts(venue: Venue, recorded: RecordedPool) -> None:
    loaded = recorded.loaded()
    pool = golden_pool(venue, recorded.name)
    encoded = pool.encode()
    assert encoded == {key: loaded[key] for key in encoded}
    assert tuple(encoded) == pool.accounts()
    again = decoded(pool, encoded)
    assert again == pool
    assert hash(again) == hash(pool)


@pytest.mark.parametrize(("venue", "recorded"), list(pools()))
def test_pool_account_names_the_accounts_to_load(venue: Venue, recorded: RecordedPool) -> None:
    loaded = recorded.loaded()
    program = program_of_account(loaded[recorded.address])
    assert program is program_of(venue)
    assert program.is_pool(loaded[recorded.address])
    named = program.accounts_of(recorded.address, loaded)
    assert named[0] == recorded.address
    pool = golden_pool(venue, recorded.name)
    assert {key for key in named if key in loaded} == set(pool.accounts())


@pytest.mark.parametrize(("venue", "recorded"), list(pools()))
def test_no_other_account_is_taken_for_a_pool(venue: Venue, recorded: RecordedPool) -> None:
    for key, account in recorded.loaded().items():
        program = program_of_account(account)
        if key != recorded.address and program is not None:
            assert not program.is_pool(account)


def test_every_venue_has_its_program() -> None:
    assert {program.VENUE for program in PROGRAMS.values()} == set(Venue)


def test_the_reference_page_tells_the_truth() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "venues.md").read_text(encoding="utf-8")
    for venue in Venue:
        recording, program = golden(venue), program_of(venue)
        counts = [len(recording.pools), len(recording.swaps), sum(len(run.steps) for run in recording.sequences)]
        cells = [venue.label, f"`{program.PROGRAM_ID}`", f"`{program.PROGRAM_SHA256[:16]}`", *counts, sum(counts)]
        assert f"| {' | '.join(map(str, cells))} |" in page
        assert f"## {venue.label}\n" in page
