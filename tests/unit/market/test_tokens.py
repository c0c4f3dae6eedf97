"""Tokens are found by symbol or mint."""

import pytest
from solders.pubkey import Pubkey

from bestex.errors import UnknownToken
from bestex.market.tokens import Tokens
from bestex.types import Token
from bestex.venues.token import TOKEN_PROGRAM
from tests.support.market import JUP, SOL, USDC

TOKENS = Tokens([SOL, USDC, JUP])


@pytest.mark.parametrize("name", ["USDC", "usdc", "Usdc", str(USDC.mint)])
def test_by_symbol_or_mint(name: str) -> None:
    assert TOKENS.find(name) is USDC
    assert TOKENS.of_mint(USDC.mint) is USDC


@pytest.mark.parametrize("name", ["", "USD", str(USDC.mint).lower(), str(USDC.mint)[:-1], "😀"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UnknownToken):
        TOKENS.find(name)
    with pytest.raises(UnknownToken):
        TOKENS.of_mint(Pubkey.new_unique())


def test_a_symbol_means_one_mint() -> None:
    with pytest.raises(ValueError, match="USDC"):
        TOKENS.add(Token("usdc", Pubkey.new_unique(), 6, TOKEN_PROGRAM))
    assert len(TOKENS) == len(list(TOKENS)) == 3
