"""A fill is what the balances say."""

import pytest
from solders.pubkey import Pubkey

from bestex.errors import OutcomeUnknown
from bestex.execution.fill import amounts_moved
from bestex.ports import LandedTransaction, TokenChange
from bestex.types import Mint, Signature
from tests.support.market import JUP, SOL, USDC

WALLET, VAULTS = Pubkey.new_unique(), Pubkey.new_unique()


def change(mint: Mint, owner: Pubkey, before: int, after: int) -> TokenChange:
    return TokenChange(Pubkey.new_unique(), mint, owner, before, after)


def landed(*changes: TokenChange) -> LandedTransaction:
    return LandedTransaction(Signature("s"), 9, None, 5000, 1, list(changes), {}, [])


def test_between_tokens() -> None:
    transaction = landed(
        change(USDC.mint, WALLET, 1_000, 400),
        change(USDC.mint, VAULTS, 50, 650),
        change(JUP.mint, VAULTS, 9_000, 8_300),
        change(JUP.mint, WALLET, 0, 700),
    )
    assert amounts_moved(transaction, WALLET, USDC.mint, JUP.mint) == (600, 700)


def test_sol_is_read_from_the_vaults_because_the_wrapped_account_is_gone() -> None:
    paid = landed(
        change(SOL.mint, VAULTS, 10, 510), change(USDC.mint, WALLET, 0, 80), change(USDC.mint, VAULTS, 99, 19)
    )
    assert amounts_moved(paid, WALLET, SOL.mint, USDC.mint) == (500, 80)
    received = landed(change(SOL.mint, VAULTS, 510, 10), change(USDC.mint, WALLET, 80, 0))
    assert amounts_moved(received, WALLET, USDC.mint, SOL.mint) == (80, 500)


def test_a_transfer_fee_is_not_part_of_what_was_received() -> None:
    withheld = landed(
        change(USDC.mint, WALLET, 100, 0), change(JUP.mint, VAULTS, 1_000, 900), change(JUP.mint, WALLET, 0, 95)
    )
    assert amounts_moved(withheld, WALLET, USDC.mint, JUP.mint) == (100, 95)


def test_balances_that_show_no_swap_are_not_booked_as_one() -> None:
    with pytest.raises(OutcomeUnknown):
        amounts_moved(landed(), WALLET, USDC.mint, JUP.mint)
    with pytest.raises(OutcomeUnknown):
        amounts_moved(landed(change(USDC.mint, WALLET, 100, 0)), WALLET, USDC.mint, JUP.mint)
