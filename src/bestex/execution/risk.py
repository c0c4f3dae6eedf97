"""Refusals before anything is signed."""

from bestex.errors import InsufficientFunds, UnsupportedPool
from bestex.execution.building import TOKEN_ACCOUNT_RENT_LAMPORTS
from bestex.orders.amount import to_units
from bestex.solana.transaction import BASE_FEE_LAMPORTS
from bestex.types import Account, Token
from bestex.venues.token import NATIVE_MINT, decode_token_account


def check_funds(token: Token, in_amount: int, wallet: Account | None, source: Account | None) -> None:
    """Raise InsufficientFunds unless the wallet holds what the swap spends (base units) and the fee.

    `wallet` is the system account that pays fees; `source` the token account that pays, the wallet itself for SOL.
    """
    lamports = wallet.lamports if wallet else 0
    needed = BASE_FEE_LAMPORTS + TOKEN_ACCOUNT_RENT_LAMPORTS
    if token.mint == NATIVE_MINT:
        needed += in_amount
    if lamports < needed:
        raise InsufficientFunds(f"the wallet holds {to_units(lamports, 9)} SOL, the order needs {to_units(needed, 9)}")
    if token.mint == NATIVE_MINT:
        return
    try:
        held = decode_token_account(source).amount if source else 0
    except UnsupportedPool:
        held = 0
    if held < in_amount:
        raise InsufficientFunds(
            f"the wallet holds {to_units(held, token.decimals)} {token.symbol}, "
            f"the order spends {to_units(in_amount, token.decimals)}"
        )
