"""A fresh, exact quote for an amount: what the API shows, and what an order is routed by."""

import asyncio

import msgspec

from bestex.errors import NoRoute
from bestex.execution.conditions import Conditions
from bestex.execution.fitting import Fitting, LamportWorth
from bestex.market.book import Book, PairView
from bestex.market.tokens import Tokens
from bestex.routing.choose import Market, Wish, choose
from bestex.routing.graph import Graph
from bestex.routing.legs import Rules
from bestex.routing.quote import Route
from bestex.types import Routing, SwapMode, Token
from bestex.venues.token import NATIVE_MINT


class Quoting:
    """Reads the pools that matter as fresh as the settings ask for, and chooses among all routes over them."""

    def __init__(self, book: Book, tokens: Tokens, conditions: Conditions | None = None) -> None:
        """Without `conditions`, priority fees are taken to be zero."""
        self._book = book
        self._tokens = tokens
        self._conditions = conditions
        self._fitting = Fitting()

    def has_pools(self, token_in: Token, token_out: Token) -> bool:
        return self._book.has_pools(token_in.mint, token_out.mint)

    async def quote(
        self,
        token_in: Token,
        token_out: Token,
        amount: int,
        slippage_bps: int,
        *,
        swap_mode: SwapMode = SwapMode.EXACT_IN,
        routing: Routing = Routing.AUTO,
        max_in_amount: int | None = None,
    ) -> Route:
        """The best route for exactly `amount` base units, paid (exact_in) or received (exact_out).

        Raises NoRoute, also where nothing asks as little as `max_in_amount`; ClusterUnavailable.
        """
        if not self.has_pools(token_in, token_out):
            raise NoRoute(f"no pool trades {token_in.symbol} against {token_out.symbol}; GET /api/pools lists them")
        wish = Wish(
            in_mint=token_in.mint,
            out_mint=token_out.mint,
            amount=amount,
            slippage_bps=slippage_bps,
            swap_mode=swap_mode,
            routing=routing,
            max_in_amount=max_in_amount,
        )
        view, unit_price = await asyncio.gather(
            self._book.view(token_in.mint, token_out.mint), self._unit_price(token_in, token_out)
        )
        market = _market(view)
        worth = self._worth(token_out if swap_mode is SwapMode.EXACT_IN else token_in)
        rules = self._fitting.rules(view.pools, (token_in, token_out), (), unit_price, worth)
        return self._choose(wish, market, rules)

    def _choose(self, wish: Wish, market: Market, rules: Rules) -> Route:
        """The best route that fits into a transaction; composing it is the proof."""
        while True:
            route = choose(wish, market, rules)
            if self._fitting.fits(route, self._tokens.of_mint):
                return route
            if len(route.legs) == 1:
                raise NoRoute(f"a swap on {route.legs[0].pool.address} does not fit into one transaction")
            limits = msgspec.structs.replace(rules.limits, legs=len(route.legs) - 1)
            rules = msgspec.structs.replace(rules, limits=limits)

    async def _unit_price(self, token_in: Token, token_out: Token) -> int:
        """Priority fee for a swap of the pair, micro-lamports per compute unit."""
        if self._conditions is None:
            return 0
        return await self._conditions.unit_price(self._book.addresses(token_in.mint, token_out.mint))

    def _worth(self, token: Token) -> LamportWorth:
        """What a lamport is worth in a token, by the deepest pool that trades it against SOL; 0 where none does."""
        if token.mint == NATIVE_MINT:
            return 1, 1
        return self._book.rate(NATIVE_MINT, token.mint)


def _market(view: PairView) -> Market:
    return Market(pools=view.pools, graph=Graph(view.pools), clock=view.clock, slot=view.slot)
