"""Verification finds what is wrong: each kind of falsified vector is reported, and counted."""

import base64
from typing import Any

import msgspec
import pytest

from bestex.venues.pool import Venue
from bestex.venues.recording import ProgramFailure, RecordedInstruction, RecordedPool, RecordedSwap, Recording
from bestex.venues.verification import PoolReport, venue_of, verify
from tests.support.venues import golden

VENUE = Venue.RAYDIUM_CPMM
POOL = "fee_25bp_accrued"
replace = msgspec.structs.replace


def plain(pool: str = POOL) -> Recording:
    """One pool of the file, with its swaps and its sequence."""
    recording = golden(VENUE)
    return replace(
        recording,
        pools=(recording.pool(pool),),
        swaps=tuple(swap for swap in recording.swaps if swap.pool == pool),
        sequences=tuple(sequence for sequence in recording.sequences if sequence.pool == pool),
    )


def with_swap(recording: Recording, index: int, **changes: Any) -> Recording:
    swaps = list(recording.swaps)
    swaps[index] = replace(swaps[index], **changes)
    return replace(recording, swaps=tuple(swaps))


def index_of(recording: Recording, *, ok: bool = True, ix: bool = False, kind: str | None = None) -> int:
    for index, swap in enumerate(recording.swaps):
        failure = swap.error.kind if swap.error else None
        if swap.ok is ok and (swap.ix is not None or not ix) and kind in (None, failure):
            return index
    raise AssertionError("no such swap in the file")


def only_report(recording: Recording) -> PoolReport:
    (report,) = verify(recording)
    return report


def aspects(report: PoolReport) -> set[str]:
    return {found.aspect for found in report.disagreements}


def test_the_unchanged_recording_agrees() -> None:
    recording = plain()
    report = only_report(recording)
    assert (report.failed, report.disagreements) == (0, [])
    assert report.passed == 1 + len(recording.swaps) + 20


def test_a_wrong_amount_is_found() -> None:
    recording = plain()
    index = index_of(recording)
    swap = recording.swaps[index]
    assert swap.amount_out is not None
    report = only_report(with_swap(recording, index, amount_out=swap.amount_out + 1))
    assert report.failed == 1
    (found,) = report.disagreements
    assert (found.aspect, found.vector.startswith(f"swap {index}, ")) == ("quote", True)
    assert found.expected == f"{swap.amount_in} in, {swap.amount_out + 1} out"
    assert found.actual == f"{swap.amount_in} in, {swap.amount_out} out"


def test_a_swap_that_we_would_refuse_is_found() -> None:
    recording = plain()
    report = only_report(with_swap(recording, index_of(recording), amount=0, ix=None))
    assert report.failed == 1
    assert aspects(report) == {"quote"}


def test_a_refusal_that_we_would_accept_is_found() -> None:
    recording = plain()
    index = index_of(recording)
    failure = ProgramFailure(6000, "NotApproved", "closed")
    report = only_report(with_swap(recording, index, ok=False, error=failure, amount_in=None, amount_out=None))
    assert aspects(report) == {"refusal"}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("zero_output", {"custom": 6005}),
        ("zero_output", {"name": "SomethingElse"}),
        ("slippage", {"custom": 6004}),
    ],
)
def test_another_error_is_found(kind: str, changes: dict[str, Any]) -> None:
    recording = plain()
    index = index_of(recording, ok=False, kind=kind)
    failure = recording.swaps[index].error
    assert failure is not None
    report = only_report(with_swap(recording, index, error=replace(failure, **changes), ix=None))
    assert (report.failed, aspects(report)) == (1, {"refusal"})


def test_a_threshold_that_was_not_missed_is_found() -> None:
    recording = plain()
    index = index_of(recording, ok=False, kind="slippage")
    swap = recording.swaps[index]
    loose = 0 if swap.mode == "exact_in" else 2**64 - 1
    report = only_report(with_swap(recording, index, threshold=loose, ix=None))
    assert (report.failed, aspects(report)) == (1, {"refusal"})


def test_a_balance_that_sufficed_is_found() -> None:
    recording = plain()
    index = index_of(recording)
    failure = ProgramFailure(1, "token:InsufficientFunds", "balance")
    report = only_report(with_swap(recording, index, ok=False, error=failure, ix=None))
    assert (report.failed, aspects(report)) == (1, {"refusal"})


def test_what_depends_on_the_transaction_is_not_judged() -> None:
    recording = plain()
    failure = ProgramFailure(None, "panic", "compute_budget")
    report = only_report(with_swap(recording, index_of(recording), ok=False, error=failure, ix=None))
    assert report.failed == 0


def altered(instruction: RecordedInstruction, what: str) -> RecordedInstruction:
    if what == "data":
        return replace(instruction, data=instruction.data[:-2] + "77")
    metas = list(instruction.accounts)
    if what == "flag":
        metas[1] = replace(metas[1], is_writable=True)
    else:
        metas[2] = replace(metas[2], pubkey=metas[3].pubkey)
    return replace(instruction, accounts=tuple(metas))


@pytest.mark.parametrize(
    ("what", "found"),
    [("data", {"instruction", "instruction read"}), ("flag", {"instruction"}), ("account", {"instruction"})],
)
def test_another_instruction_is_found(what: str, found: set[str]) -> None:
    recording = plain()
    index = index_of(recording, ix=True)
    instruction = recording.swaps[index].ix
    assert instruction is not None
    report = only_report(with_swap(recording, index, ix=altered(instruction, what)))
    assert (report.failed, aspects(report)) == (1, found)


def flipped(data: str, at: int) -> str:
    raw = bytearray(base64.b64decode(data))
    raw[at] ^= 1
    return base64.b64encode(raw).decode()


def test_another_byte_in_the_state_is_found_and_the_sequence_goes_on() -> None:
    recording = plain()
    (sequence,) = recording.sequences
    steps = list(sequence.steps)
    assert steps[3].post_accounts is not None
    state = {role: flipped(data, 345) if role == "pool" else data for role, data in steps[3].post_accounts.items()}
    steps[3] = replace(steps[3], post_accounts=state)
    report = only_report(replace(recording, sequences=(replace(sequence, steps=tuple(steps)),)))
    # The step itself, and those after it that are computed from what it is said to have left.
    assert report.failed >= 1
    first = report.disagreements[0]
    assert (first.aspect, first.vector.split(", ")[1]) == ("state of pool", "step 3")
    assert first.expected.startswith("at byte 345: ")


def test_an_account_that_we_would_not_have_changed_is_found() -> None:
    recording = plain(next(swap.pool for swap in golden(VENUE).swaps if swap.post_accounts))
    index = next(index for index, swap in enumerate(recording.swaps) if swap.post_accounts)
    changes = recording.swaps[index].post_accounts
    assert changes is not None
    config = recording.pools[0].accounts["amm_config"].data
    report = only_report(with_swap(recording, index, post_accounts={**changes, "amm_config": flipped(config, 200)}))
    assert (report.failed, aspects(report)) == (1, {"state of amm_config"})


def unreadable(pool: RecordedPool, **params: Any) -> RecordedPool:
    """The pool with a creator fee of a kind that does not exist."""
    head = pool.accounts["pool"]
    raw = bytearray(base64.b64decode(head.data))
    raw[389] = 3
    accounts = {**pool.accounts, "pool": replace(head, data=base64.b64encode(raw).decode())}
    return replace(pool, accounts=accounts, params=replace(pool.params, **params))


def test_a_pool_that_is_refused_fails_with_all_its_swaps() -> None:
    recording = plain()
    report = only_report(replace(recording, pools=(unreadable(recording.pools[0]),)))
    assert (report.passed, report.failed) == (0, 1 + len(recording.swaps) + 20)
    assert [found.aspect for found in report.disagreements] == ["decode"]


def test_a_pool_that_may_be_refused_does_not_count() -> None:
    recording = plain()
    pool = unreadable(recording.pools[0], optional_feature="a kind of fee")
    report = only_report(replace(recording, pools=(pool,)))
    assert (report.passed, report.failed, report.disagreements) == (0, 0, [])
    assert report.refused is not None


def test_a_fault_of_ours_is_a_finding() -> None:
    recording = plain()
    index = index_of(recording)
    report = only_report(with_swap(recording, index, input_mint="11111111111111111111111111111111", ix=None))
    assert (report.failed, aspects(report)) == (1, {"fault"})
    assert report.disagreements[0].actual.startswith("ValueError")


def test_another_program_has_no_venue() -> None:
    with pytest.raises(ValueError, match="no venue"):
        venue_of(replace(plain(), program_id="11111111111111111111111111111111"))


def test_steps_of_every_sequence_have_their_own_clock() -> None:
    steps: list[RecordedSwap] = [step for sequence in plain().sequences for step in sequence.steps]
    assert all(step.clock is not None for step in steps)
