"""What is to be traded, and the pools that may be used for it."""

from collections.abc import Sequence

import msgspec

from bestex.routing.graph import Graph
from bestex.types import ChainClock, Mint, Routing, Slot, SwapMode
from bestex.venues.pool import Pool


class Wish(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is to be traded. Base units."""

    in_mint: Mint
    out_mint: Mint
    amount: int
    """Paid (exact_in) or received (exact_out)."""
    slippage_bps: int
    swap_mode: SwapMode = SwapMode.EXACT_IN
    routing: Routing = Routing.AUTO
    max_in_amount: int | None = None
    """The most to pay (exact_out)."""


class Market(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The pools that routes may use, as they were read."""

    pools: Sequence[Pool]
    """Of the pair itself."""
    graph: Graph
    """These, and those of other pairs on the way."""
    clock: ChainClock
    slot: Slot
    stale: Sequence[tuple[Pool, str]] = ()
    """Pools of the pair that could not be read, and why."""
    paths_left_out: int = 0
    """Sequences of mints whose pools were not read."""
    paths: int = 1
    """Those that were, the pair itself with them; 0: no other is worth a look."""
