"""An order that the wallet cannot pay is refused before anything is signed."""

import pytest

from bestex.errors import InsufficientFunds
from bestex.execution.building import TOKEN_ACCOUNT_RENT_LAMPORTS
from bestex.execution.risk import check_funds
from bestex.solana.instructions import SYSTEM_PROGRAM
from bestex.types import Account
from bestex.venues.token import token_account
from tests.support.market import SOL, USDC

NEEDED = 5_000 + TOKEN_ACCOUNT_RENT_LAMPORTS


def wallet(lamports: int) -> Account:
    return Account(SYSTEM_PROGRAM, lamports, b"")


def test_exactly_enough_is_enough() -> None:
    check_funds(USDC, 100, wallet(NEEDED), token_account(USDC.mint, SYSTEM_PROGRAM, 100))
    check_funds(SOL, 100, wallet(NEEDED + 100), wallet(NEEDED + 100))


@pytest.mark.parametrize(
    ("lamports", "source"),
    [
        (NEEDED, token_account(USDC.mint, SYSTEM_PROGRAM, 99)),
        (NEEDED, None),
        (NEEDED, Account(SYSTEM_PROGRAM, 1, b"no token account")),
        (NEEDED - 1, token_account(USDC.mint, SYSTEM_PROGRAM, 100)),
    ],
)
def test_one_unit_short_is_refused(lamports: int, source: Account | None) -> None:
    with pytest.raises(InsufficientFunds):
        check_funds(USDC, 100, wallet(lamports), source)


def test_sol_pays_the_swap_and_the_fee() -> None:
    with pytest.raises(InsufficientFunds, match="SOL"):
        check_funds(SOL, 100, wallet(NEEDED + 99), wallet(NEEDED + 99))
    with pytest.raises(InsufficientFunds):
        check_funds(SOL, 100, None, None)
