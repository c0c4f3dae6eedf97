"""What may be retried, how long to wait, when to stop."""

from typing import Any

import msgspec
import pytest
from solders.pubkey import Pubkey

from bestex.errors import AttemptDead, BestexError, ClusterUnavailable, InvalidOrder, NoRoute, UnknownToken
from bestex.execution.retry import backoff_ms, failed_transaction, may_retry, order_error
from bestex.orders.order import Order, OrderError, OrderType, Terms
from bestex.orders.status import Status
from bestex.ports import TransactionError
from bestex.types import OrderId
from bestex.venues import meteora_dlmm, raydium_cpmm
from bestex.venues.token import TOKEN_PROGRAM
from tests.support.entropy import SeededEntropy


def on_chain(program: Pubkey | None, code: int | None, name: str = "InstructionError") -> OrderError:
    error = TransactionError(name, 4, code, str(program) if program else None)
    return order_error(failed_transaction(error, landed=True))


@pytest.mark.parametrize(("program", "code"), [(raydium_cpmm.PROGRAM_ID, 6005), (meteora_dlmm.PROGRAM_ID, 6003)])
def test_slippage_is_named_and_retried_with_a_fresh_quote(program: Pubkey, code: int) -> None:
    error = on_chain(program, code)
    assert (error.code, error.retryable, error.money_moved) == ("SLIPPAGE_EXCEEDED", True, "no")
    assert str(code) in error.message


def test_other_refusals_of_the_pool_are_named() -> None:
    error = on_chain(raydium_cpmm.PROGRAM_ID, 6000)
    assert (error.code, error.retryable) == ("SWAP_REFUSED", True)
    assert "NotApproved" in error.message


@pytest.mark.parametrize(
    "error",
    [
        TransactionError("InstructionError", 4, 1, str(TOKEN_PROGRAM)),
        TransactionError("InsufficientFundsForFee"),
        TransactionError("InsufficientFundsForRent"),
    ],
)
def test_an_empty_wallet_is_fatal(error: TransactionError) -> None:
    told = order_error(failed_transaction(error, landed=False))
    assert (told.code, told.retryable) == ("INSUFFICIENT_FUNDS", False)


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (NoRoute("x"), True),
        (ClusterUnavailable("x"), True),
        (AttemptDead("x"), True),
        (InvalidOrder("x"), False),
        (UnknownToken("x"), False),
    ],
)
def test_which_errors_are_worth_another_try(error: BestexError, retryable: bool) -> None:
    assert order_error(error).retryable is retryable


def test_waits_grow_until_the_cap() -> None:
    entropy = SeededEntropy(3)
    for _ in range(200):
        waits = [backoff_ms(retries, 0.5, 1e9, entropy) for retries in range(6)]
        assert waits == sorted(set(waits)), "each wait is longer than the one before"
        assert 500 <= waits[0] <= 625
    assert backoff_ms(60, 0.5, 30.0, entropy) <= 37_500


def order(**changes: Any) -> Order:
    terms = Terms(
        type=OrderType.MARKET, user_id="u", token_in="A", token_out="B", in_mint="a", out_mint="b", in_decimals=6,
        out_decimals=6, in_amount=1, slippage_bps=1, max_retries=2,
    )  # fmt: skip
    start = Order(
        id=OrderId("o"), terms=terms, status=Status.ROUTING, seq=2, created_at_ms=0, updated_at_ms=0, due_at_ms=0
    )
    return msgspec.structs.replace(start, **changes)


def test_tries_are_counted() -> None:
    error = OrderError("X", "x", retryable=True, money_moved="no")
    assert [may_retry(order(retries=retries), error) for retries in range(4)] == [True, True, False, False]
    assert not may_retry(order(), msgspec.structs.replace(error, retryable=False))
