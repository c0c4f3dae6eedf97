"""An order's state is the sum of its events."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestex.errors import IllegalTransition
from bestex.orders.events import (
    Canceled,
    CancelRequested,
    Confirmed,
    Failed,
    Finalized,
    Retrying,
    RolledBack,
    decode_event,
    encode_event,
)
from bestex.orders.order import Finality, Order, OrderError, OrderType, Terms, new_order_id, request_hash
from bestex.orders.reduce import advance
from bestex.orders.status import Status
from bestex.types import OrderId, Routing
from tests.support.orders import terms

AT = datetime(2026, 1, 1, tzinfo=UTC)
ERROR = OrderError("NO_ROUTE", "no pool", retryable=True, money_moved="no")
TERMS = Terms(
    type=OrderType.MARKET,
    user_id="u",
    token_in="USDC",
    token_out="SOL",
    in_mint="in",
    out_mint="out",
    in_decimals=6,
    out_decimals=9,
    in_amount=5,
    slippage_bps=50,
)


def order(status: Status, **changes: Any) -> Order:
    start = Order(id=OrderId("o"), terms=TERMS, status=status, seq=4, created_at_ms=0, updated_at_ms=0, due_at_ms=0)
    return msgspec.structs.replace(start, **changes)


def header(seq: int = 5, **more: Any) -> dict[str, Any]:
    return {"order_id": OrderId("o"), "seq": seq, "at": AT} | more


def confirmed(seq: int = 5) -> Confirmed:
    return Confirmed(
        **header(seq), status=Status.CONFIRMED, attempt=1, tx_hash="sig", slot=9, venue="v", pool="p", amount_in="5",
        amount_out="7", in_amount="5", out_amount="7", executed_price="1.4", price_unit="SOL per USDC",
        slippage_bps_realized="0.00", fee_lamports=5000,
    )  # fmt: skip


def test_a_fill_is_kept_and_a_fork_takes_it_back() -> None:
    filled = advance(order(Status.SUBMITTED), confirmed())
    assert filled.fill is not None
    assert (filled.fill.out_amount, filled.finality) == (7, Finality.CONFIRMED)
    undone = advance(filled, RolledBack(**header(6), status=Status.SUBMITTED, tx_hash="sig", explanation="fork"))
    assert (undone.status, undone.fill, undone.finality) == (Status.SUBMITTED, None, None)


def test_finalized_ends_the_order() -> None:
    filled = advance(order(Status.SUBMITTED), confirmed())
    final = advance(filled, Finalized(**header(6), status=Status.CONFIRMED, tx_hash="sig", slot=9))
    assert final.is_terminal
    with pytest.raises(IllegalTransition):
        advance(final, RolledBack(**header(7), status=Status.SUBMITTED, tx_hash="sig", explanation="fork"))


def test_a_retry_counts_and_waits() -> None:
    later = AT + timedelta(seconds=2)
    retrying = Retrying(**header(), status=Status.PENDING, attempt=1, error=ERROR, retry_at=later, retries_left=1)
    after = advance(order(Status.ROUTING), retrying)
    assert (after.retries, after.due_at_ms, after.error) == (1, round(later.timestamp() * 1000), ERROR)


def test_a_cancel_request_changes_no_status() -> None:
    after = advance(order(Status.SUBMITTED), CancelRequested(**header(), status=Status.SUBMITTED, explanation="x"))
    assert after.cancel_requested
    assert after.status is Status.SUBMITTED


@pytest.mark.parametrize("seq", [0, 4, 6])
def test_a_gap_in_the_sequence_is_refused(seq: int) -> None:
    with pytest.raises(IllegalTransition):
        advance(order(Status.PENDING), Canceled(**header(seq), status=Status.CANCELED, explanation="x"))


def test_an_ended_order_cannot_change() -> None:
    failed = advance(order(Status.ROUTING), Failed(**header(), status=Status.FAILED, error=ERROR))
    with pytest.raises(IllegalTransition):
        advance(failed, Canceled(**header(6), status=Status.CANCELED, explanation="x"))


def test_the_same_status_twice_is_refused() -> None:
    with pytest.raises(IllegalTransition):
        advance(order(Status.FAILED), Failed(**header(), status=Status.FAILED, error=ERROR))


def test_events_survive_their_json() -> None:
    event = confirmed()
    assert decode_event(encode_event(event)) == event
    assert b'"event":"confirmed"' in encode_event(event)


def test_equal_terms_have_equal_hashes_and_others_not() -> None:
    assert request_hash(TERMS) == request_hash(msgspec.structs.replace(TERMS))
    assert request_hash(TERMS) != request_hash(msgspec.structs.replace(TERMS, in_amount=6))
    assert request_hash(TERMS) != request_hash(msgspec.structs.replace(TERMS, routing=Routing.BEST))


def test_a_request_has_the_hash_that_it_had_before_there_were_routings() -> None:
    assert request_hash(terms()) == "06401c4c618bc5832004428723d8922e01f87b5268e38d9eeadf3ab9b3954248"


@given(
    early=st.integers(0, 2**47),
    later=st.integers(1, 10**6),
    one=st.binary(min_size=10, max_size=10),
    two=st.binary(min_size=10, max_size=10),
)
def test_ids_are_uuid7_and_sort_by_time(early: int, later: int, one: bytes, two: bytes) -> None:
    first, second = new_order_id(early, one), new_order_id(early + later, two)
    assert first < second
    assert first[14] == "7"
    assert first[19] in "89ab"


def test_a_try_can_fail_before_a_pool_was_chosen() -> None:
    retrying = Retrying(**header(), status=Status.PENDING, attempt=0, error=ERROR, retry_at=AT, retries_left=1)
    assert advance(order(Status.PENDING), retrying).retries == 1
