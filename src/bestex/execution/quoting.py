"""A fresh, exact quote for an amount: what the API shows, and what an order is routed by."""

from bestex.errors import NoRoute
from bestex.market.book import Book
from bestex.routing.quote import Route
from bestex.routing.router import best_route
from bestex.types import Routing, SwapMode, Token


class Quoting:
    """Reads the pair's pools as fresh as the settings ask for, and compares them."""

    def __init__(self, book: Book) -> None:
        self._book = book

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
        view = await self._book.view(token_in.mint, token_out.mint)
        return best_route(
            view.pools,
            token_in.mint,
            token_out.mint,
            amount,
            slippage_bps=slippage_bps,
            clock=view.clock,
            context_slot=view.slot,
        )
