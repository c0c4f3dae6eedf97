"""What an amount would fetch now, and the tokens and pools that this is computed from."""

from collections.abc import Sequence
from typing import Annotated

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from bestex import errors
from bestex.api.front import Front
from bestex.api.handling import HttpRequest, front_of, problems_of
from bestex.api.market_schemas import (
    PoolList,
    PoolSide,
    PoolView,
    QuoteView,
    RefusedPool,
    TokenList,
    TokenView,
)
from bestex.api.quote_view import PER_PERCENT_DIGITS, quote_view
from bestex.api.reading import amounts_wrong
from bestex.api.refusals import FieldProblem, InvalidParameter
from bestex.api.schemas import SwapModeName, swap_mode_of
from bestex.errors import AmountOutOfRange, InvalidOrder, UnknownToken
from bestex.market.listing import Listing
from bestex.orders.amount import to_raw, to_units
from bestex.types import BPS, Mint, Routing, Token


@get(
    "/api/quote",
    tags=["Market"],
    summary="Quote an amount",
    responses=problems_of(
        InvalidParameter, UnknownToken, AmountOutOfRange, InvalidOrder, errors.NoRoute, errors.ClusterUnavailable
    ),
    opt={"query": frozenset({"tokenIn", "tokenOut", "amountIn", "amountOut", "swapMode", "routing", "slippageBps"})},
)
async def get_quote(
    request: HttpRequest,
    *,
    token_in: Annotated[str, QueryParameter(name="tokenIn", description="Symbol or mint to sell")],
    token_out: Annotated[str, QueryParameter(name="tokenOut", description="Symbol or mint to buy")],
    amount_in: Annotated[
        str | None, QueryParameter(name="amountIn", description="ExactIn: decimal number of token units to sell")
    ] = None,
    amount_out: Annotated[
        str | None, QueryParameter(name="amountOut", description="ExactOut: decimal number of token units to buy")
    ] = None,
    swap_mode: Annotated[
        SwapModeName, QueryParameter(name="swapMode", description="Which amount is exact")
    ] = "ExactIn",
    routing: Annotated[Routing, QueryParameter(description="Which routes are considered")] = Routing.AUTO,
    slippage_bps: Annotated[
        int | None, QueryParameter(name="slippageBps", ge=0, le=BPS, description="Default: the server's")
    ] = None,
) -> QuoteView:
    """The best route for exactly this amount, to the last base unit, in Jupiter's words; how far it is from the best
    possible one; every pool's offer; and the routes that were not taken.
    """
    front = front_of(request)
    started_s = front.clock.monotonic_s()
    wrong = amounts_wrong(swap_mode, {"amountIn": amount_in, "amountOut": amount_out})
    if wrong:
        raise InvalidParameter("; ".join(f"{each.field} {each.message}" for each in wrong), errors=wrong)
    selling, buying = _token(front, "tokenIn", token_in), _token(front, "tokenOut", token_out)
    if selling.mint == buying.mint:
        raise InvalidOrder(f"tokenIn and tokenOut are both {selling.symbol}")
    if amount_in is not None:
        amount = _amount("amountIn", amount_in, selling)
    else:
        amount = _amount("amountOut", amount_out or "", buying)
    slippage = front.settings.slippage_bps if slippage_bps is None else slippage_bps
    route = await front.quoting.quote(
        selling, buying, amount, slippage, swap_mode=swap_mode_of(swap_mode), routing=routing
    )
    taken_s = front.clock.monotonic_s() - started_s
    return quote_view(route, front.tokens, time_taken_s=taken_s, simulated=front.simulated)


@get("/api/tokens", tags=["Market"], summary="List tokens")
async def list_tokens(request: HttpRequest) -> TokenList:
    """All tokens that orders and quotes may name, by symbol or mint."""
    return TokenList(
        tokens=[
            TokenView(symbol=token.symbol, mint=str(token.mint), decimals=token.decimals, program=str(token.program))
            for token in front_of(request).tokens
        ]
    )


@get("/api/pools", tags=["Market"], summary="List pools")
async def list_pools(request: HttpRequest) -> PoolList:
    """The pools that the router chooses from, as last read, and those that it refuses."""
    front = front_of(request)
    return PoolList(
        pools=[_pool_view(front, listing) for listing in front.book.listings()],
        refused=[RefusedPool(str(address), reason) for address, reason in front.book.refused.items()],
        simulated=front.simulated,
    )


MARKET_ROUTES: Sequence[HTTPRouteHandler] = (get_quote, list_tokens, list_pools)


def _pool_view(front: Front, listing: Listing) -> PoolView:
    pool = listing.pool
    return PoolView(
        address=str(pool.address),
        venue=pool.venue,
        dex=pool.venue.dex,
        label=pool.venue.label,
        tokens=[_side(front, mint, reserve) for mint, reserve in zip(pool.mints, pool.reserves, strict=True)],
        fee_pct=to_units(pool.fee_bps_hundredths, PER_PERCENT_DIGITS),
        context_slot=listing.slot,
    )


def _side(front: Front, mint: Mint, reserve: int) -> PoolSide:
    try:
        token = front.tokens.of_mint(mint)
    except UnknownToken:
        return PoolSide(mint=str(mint), symbol=None, reserve_raw=str(reserve), reserve=None)
    units = to_units(reserve, token.decimals)
    return PoolSide(mint=str(mint), symbol=token.symbol, reserve_raw=str(reserve), reserve=units)


def _token(front: Front, field: str, name: str) -> Token:
    try:
        return front.tokens.find(name)
    except UnknownToken as error:
        raise UnknownToken(
            f"{field}: {error.message}", **error.context, errors=[FieldProblem(field, error.message)]
        ) from error


def _amount(field: str, text: str, token: Token) -> int:
    try:
        return to_raw(text, token.decimals)
    except AmountOutOfRange as error:
        raise AmountOutOfRange(
            f"{field}: {error.message}", **error.context, errors=[FieldProblem(field, error.message)]
        ) from error
