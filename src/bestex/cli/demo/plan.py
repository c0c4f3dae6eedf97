"""The demo's orders: which pairs, which sizes, and how each should end."""

from enum import StrEnum

import msgspec


class Ending(StrEnum):
    """How an order should end."""

    FILLED = "filled"
    FAILED = "failed"


class Planned(msgspec.Struct, frozen=True):
    """An order that the demo places."""

    token_in: str
    """Symbol."""
    token_out: str
    amount: str
    """Token units of what is spent; with `exact_out`, of what is received."""
    priority: int | None = None
    slippage_bps: int | None = None
    exact_out: bool = False
    by_mint: bool = False
    """Name the tokens by mint address instead of symbol."""
    repeated: bool = False
    """Post it twice under one clientOrderId: there must be one order."""
    ending: Ending = Ending.FILLED
    note: str = ""

    @property
    def exact(self) -> str:
        """The amount with its token."""
        return f"{self.amount} {self.token_out if self.exact_out else self.token_in}"


PLAN = (
    Planned("USDC", "ETH", "1000"),
    Planned("ETH", "USDC", "0.75"),
    Planned("SOL", "USDC", "120", priority=9, note="priority 9"),
    Planned("USDC", "SOL", "250000", note="large enough for several pools"),
    Planned("USDC", "JUP", "500", exact_out=True, note="exactly 500 JUP, into a new token account"),
    Planned("SOL", "BONK", "8", by_mint=True, note="by mint address"),
    Planned("BONK", "SOL", "40000000", priority=5, note="priority 5"),
    Planned("USDC", "SOL", "150", repeated=True, note="posted twice"),
    Planned("BTC", "ETH", "0.5", slippage_bps=30, note="no pool for this pair: by a path; slippage 30 bps"),
    Planned("SOL", "USDC", "15000000", ending=Ending.FAILED, note="more than the wallet holds"),
)
"""All on the paper market, which funds its wallet."""
