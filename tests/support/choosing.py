"""Routes over a few pools, chosen as the engine chooses them."""

from collections.abc import Sequence
from typing import Any

from bestex.routing.choose import choose
from bestex.routing.graph import Graph
from bestex.routing.legs import Rules
from bestex.routing.quote import Route
from bestex.routing.wish import Market, Wish
from bestex.types import Mint, Routing
from bestex.venues.pool import Pool
from tests.support.market import CLOCK

_FREE = Rules()


def chosen(
    pools: Sequence[Pool],
    in_mint: Mint,
    out_mint: Mint,
    amount: int,
    *,
    slippage_bps: int = 50,
    routing: Routing = Routing.AUTO,
    rules: Rules = _FREE,
    **wish: Any,
) -> Route:
    """The route of a market that consists of these pools."""
    graph = Graph(pools)
    market = Market(pools=graph.pools(in_mint, out_mint), graph=graph, clock=CLOCK, slot=7)
    asked = Wish(in_mint=in_mint, out_mint=out_mint, amount=amount, slippage_bps=slippage_bps, routing=routing, **wish)
    return choose(asked, market, rules)
