"""A fresh, exact quote for an amount: what the API shows, and what an order is routed by."""

import asyncio

import msgspec

from bestex.errors import NoRoute, Unavailable
from bestex.execution.conditions import Conditions
from bestex.execution.fitting import Fitting, LamportWorth
from bestex.market.book import Book
from bestex.market.listing import PairView, Picture
from bestex.market.tokens import Tokens
from bestex.routing.choose import HOPS, choose
from bestex.routing.graph import Graph
from bestex.routing.legs import Rules
from bestex.routing.promising import Promising, promising
from bestex.routing.quote import Route
from bestex.routing.wish import Market, Wish
from bestex.types import Routing, SwapMode, Token
from bestex.venues.pool import Pool
from bestex.venues.token import NATIVE_MINT

_MOST_PATHS = 8
"""Over other mints, that pools are read for."""
_REMEMBERED = 64
"""Graphs of views."""


class Quoting:
    """Reads the pools that matter as fresh as the settings ask for, and chooses among all routes over them."""

    def __init__(self, book: Book, tokens: Tokens, conditions: Conditions | None = None) -> None:
        """Without `conditions`, priority fees are taken to be zero."""
        self._book = book
        self._tokens = tokens
        self._conditions = conditions
        self._fitting = Fitting()
        self._picture: Picture | None = None
        self._graph = Graph(())
        """Of the picture."""
        self._graphs: dict[tuple[int, ...], tuple[tuple[PairView, ...], Graph]] = {}
        """By the identities of views, which are kept beside."""

    def has_pools(
        self,
        token_in: Token,
        token_out: Token,
        swap_mode: SwapMode = SwapMode.EXACT_IN,
        routing: Routing = Routing.AUTO,
    ) -> bool:
        """Whether pools lead from one token to the other as such an order may go."""
        if _may_take_paths(swap_mode, routing):
            return self._book.reaches(token_in.mint, token_out.mint, HOPS)
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
        if not self.has_pools(token_in, token_out, swap_mode, routing):
            raise NoRoute(no_pools(token_in, token_out, swap_mode, routing))
        wish = Wish(
            in_mint=token_in.mint,
            out_mint=token_out.mint,
            amount=amount,
            slippage_bps=slippage_bps,
            swap_mode=swap_mode,
            routing=routing,
            max_in_amount=max_in_amount,
        )
        paths = self._promising(wish)
        market, unit_price = await asyncio.gather(self._read(wish, paths), self._unit_price(wish, paths))
        ends = token_in, token_out
        between = dict.fromkeys(mint for path in paths.paths for mint in path[1:-1])
        worth = self._worth(token_out if swap_mode is SwapMode.EXACT_IN else token_in)
        rules = self._fitting.rules(
            list(market.graph), ends, [self._tokens.of_mint(mint) for mint in between], unit_price, worth
        )
        return self._choose(wish, market, rules)

    def _promising(self, wish: Wish) -> Promising:
        picture = self._book.picture()
        if picture is None or not _may_take_paths(wish.swap_mode, wish.routing):
            return Promising((), 0)
        if picture is not self._picture:
            self._picture, self._graph = picture, Graph([pool for pool in picture.pools if self._knows(pool)])
        return promising(
            self._graph, picture.clock, wish.in_mint, wish.out_mint, wish.amount, hops=HOPS, most=_MOST_PATHS
        )

    def _knows(self, pool: Pool) -> bool:
        return all(mint in self._tokens for mint in pool.mints)

    async def _read(self, wish: Wish, paths: Promising) -> Market:
        """The pools of the pair, and of the paths; a pair that cannot be read is no part of a path."""
        direct = (wish.in_mint, wish.out_mint)
        pairs = [direct] if self._book.has_pools(*direct) else []
        pairs += paths.pairs
        answers = await asyncio.gather(*(self._book.view(*pair) for pair in pairs), return_exceptions=True)
        views = {}
        for pair, answer in zip(pairs, answers, strict=True):
            if isinstance(answer, PairView):
                views[pair] = answer
            elif not isinstance(answer, NoRoute | Unavailable) or pair == direct or len(pairs) == 1:
                raise answer
        if not views:
            raise NoRoute("no pool on the way could be read", retryable=True)
        own = views.get(direct)
        return Market(
            pools=own.pools if own else (),
            graph=self._graph_of(tuple(views.values())),
            clock=max((view.clock for view in views.values()), key=lambda clock: clock.slot),
            slot=min(view.slot for view in views.values()),
            stale=own.stale if own else (),
            paths=len(paths.paths) + bool(own) if paths.paths else 0,
            paths_left_out=paths.left_out,
        )

    def _graph_of(self, views: tuple[PairView, ...]) -> Graph:
        """One for all orders that are routed by the same views: it remembers prices."""
        key = tuple(map(id, views))
        known = self._graphs.get(key)
        if known is None:
            if len(self._graphs) >= _REMEMBERED:
                self._graphs.clear()
            graph = Graph([pool for view in views for pool in view.pools])
            known = self._graphs[key] = views, graph
        return known[1]

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

    async def _unit_price(self, wish: Wish, paths: Promising) -> int:
        """Priority fee for a swap of the pair, or else on the first of the paths: micro-lamports per compute unit."""
        if self._conditions is None:
            return 0
        pair = (wish.in_mint, wish.out_mint)
        if not self._book.has_pools(*pair):
            if not paths.paths:
                return 0
            pair = paths.pairs[0]
        return await self._conditions.unit_price(self._book.addresses(*pair))

    def _worth(self, token: Token) -> LamportWorth:
        """What a lamport is worth in a token, by the deepest pool that trades it against SOL; 0 where none does."""
        if token.mint == NATIVE_MINT:
            return 1, 1
        return self._book.rate(NATIVE_MINT, token.mint)


def no_pools(token_in: Token, token_out: Token, swap_mode: SwapMode, routing: Routing) -> str:
    """Why there is no route between these tokens."""
    if _may_take_paths(swap_mode, routing):
        return f"no pools lead from {token_in.symbol} to {token_out.symbol} in {HOPS} hops; GET /api/pools lists them"
    return (
        f"no pool trades {token_in.symbol} against {token_out.symbol}; GET /api/pools lists them, "
        "and exact_in orders with routing auto may go over other tokens"
    )


def _may_take_paths(swap_mode: SwapMode, routing: Routing) -> bool:
    return routing is Routing.AUTO and swap_mode is SwapMode.EXACT_IN
