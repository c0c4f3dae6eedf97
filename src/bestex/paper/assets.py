"""The tokens of the paper market: their mainnet mints, what they are worth to begin with, how much they move."""

from collections.abc import Mapping

import msgspec
from solders.pubkey import Pubkey

from bestex.types import Mint, Token
from bestex.venues.token import TOKEN_PROGRAM


class Asset(msgspec.Struct, frozen=True):
    """A token and its price process."""

    token: Token
    usd: float
    """Price that the latent price returns to."""
    daily_volatility: float
    """Standard deviation of a day's log return, before the pull back."""

    def raw(self, usd: float) -> int:
        """Base units that are worth so many dollars at the reference price, rounded down."""
        return int(usd / self.usd * 10**self.token.decimals)


def _asset(symbol: str, mint: str, decimals: int, usd: float, daily_volatility: float) -> Asset:
    return Asset(Token(symbol, Pubkey.from_string(mint), decimals, TOKEN_PROGRAM), usd, daily_volatility)


_ALL = (
    _asset("SOL", "So11111111111111111111111111111111111111112", 9, 160.0, 0.04),
    _asset("USDC", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", 6, 1.0, 0.0),
    _asset("USDT", "Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB", 6, 1.0, 0.0004),
    _asset("ETH", "7vfCXTUXx5WJV5JADk17DUJ4ksgau7utNKj4b963voxs", 8, 3_200.0, 0.03),
    _asset("BTC", "3NZ9JMVBmGAqocybic2c7LQCJScmgsAZ6vQqTDzcqmJh", 8, 98_000.0, 0.025),
    _asset("JUP", "JUPyiwrYJFskUPiHa7hkeR8VUtAeFoSYbKedZNsDvCN", 6, 0.85, 0.05),
    _asset("BONK", "DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB263", 5, 0.000_02, 0.06),
    _asset("RAY", "4k3Dyjzvzp8eMZWUXbBCjEvwSkkk59S5iCNLY3QrkX6R", 6, 3.1, 0.05),
)

ASSETS: Mapping[str, Asset] = {asset.token.symbol: asset for asset in _ALL}
"""By symbol."""

BY_MINT: Mapping[Mint, Asset] = {asset.token.mint: asset for asset in _ALL}
