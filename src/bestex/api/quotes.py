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
    OfferView,
    PoolList,
    PoolSide,
    PoolView,
    QuoteView,
    RefusedPool,
    RouteLeg,
    SwapInfo,
    TokenList,
    TokenView,
)
from bestex.api.refusals import FieldProblem, InvalidParameter
from bestex.errors import AmountOutOfRange, InvalidOrder, UnknownToken
from bestex.market.book import Listing
from bestex.orders.amount import price, to_raw, to_units
from bestex.routing.quote import Leg, Offer, Route
from bestex.types import BPS, Mint, SwapMode, Token

_SWAP_MODES = {SwapMode.EXACT_IN: "ExactIn", SwapMode.EXACT_OUT: "ExactOut"}
_PER_PERCENT_DIGITS = 4
"""Millionths and hundredths of a basis point are both ten-thousandths of a percent."""


@get(
    "/api/quote",
    tags=["Market"],
    summary="Quote an amount",
    responses=problems_of(
        InvalidParameter, UnknownToken, AmountOutOfRange, InvalidOrder, errors.NoRoute, errors.ClusterUnavailable
    ),
    opt={"query": frozenset({"tokenIn", "tokenOut", "amountIn", "slippageBps"})},
)
async def get_quote(
    request: HttpRequest,
    token_in: Annotated[str, QueryParameter(name="tokenIn", description="Symbol or mint to sell")],
    token_out: Annotated[str, QueryParameter(name="tokenOut", description="Symbol or mint to buy")],
    amount_in: Annotated[str, QueryParameter(name="amountIn", description="Decimal number of token units to sell")],
    slippage_bps: Annotated[
        int | None, QueryParameter(name="slippageBps", ge=0, le=BPS, description="Default: the server's")
    ] = None,
) -> QuoteView:
    """The best route for exactly this amount, to the last base unit, in Jupiter's words; and every pool's offer."""
    front = front_of(request)
    started_s = front.clock.monotonic_s()
    selling, buying = _token(front, "tokenIn", token_in), _token(front, "tokenOut", token_out)
    if selling.mint == buying.mint:
        raise InvalidOrder(f"tokenIn and tokenOut are both {selling.symbol}")
    try:
        amount = to_raw(amount_in, selling.decimals)
    except AmountOutOfRange as error:
        raise AmountOutOfRange(
            f"amountIn: {error.message}", **error.context, errors=[FieldProblem("amountIn", error.message)]
        ) from error
    slippage = front.settings.slippage_bps if slippage_bps is None else slippage_bps
    route = await front.quoting.quote(selling, buying, amount, slippage)
    taken_s = front.clock.monotonic_s() - started_s
    return quote_view(route, selling, buying, time_taken_s=taken_s, simulated=front.simulated)


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


def quote_view(route: Route, token_in: Token, token_out: Token, *, time_taken_s: float, simulated: bool) -> QuoteView:
    """A route and its rivals as the API shows them."""
    offers = [_offer_view(offer, route, token_in, token_out) for offer in route.offers]
    best: dict[str, OfferView] = {}
    for offer in offers:
        if offer.error is None:
            best.setdefault(offer.dex, offer)
    return QuoteView(
        input_mint=str(route.in_mint),
        in_amount=str(route.in_amount),
        output_mint=str(route.out_mint),
        out_amount=str(route.out_amount),
        other_amount_threshold=str(route.other_amount_threshold),
        swap_mode=_SWAP_MODES[route.swap_mode],
        slippage_bps=route.slippage_bps,
        price_impact_pct=to_units(route.price_impact_ppm, _PER_PERCENT_DIGITS),
        route_plan=[_leg_view(leg, route) for leg in route.legs],
        context_slot=route.context_slot,
        time_taken=round(time_taken_s, 6),
        token_in=token_in.symbol,
        token_out=token_out.symbol,
        amount_in=to_units(route.in_amount, token_in.decimals),
        amount_out=to_units(route.out_amount, token_out.decimals),
        price=price(route.in_amount, token_in.decimals, route.out_amount, token_out.decimals),
        price_unit=f"{token_out.symbol} per {token_in.symbol}",
        venue=route.legs[0].pool.venue,
        quotes=offers,
        best_by_venue=best,
        simulated=simulated,
    )


def _leg_view(leg: Leg, route: Route) -> RouteLeg:
    share_bps = leg.in_amount * BPS // route.in_amount if leg.in_mint == route.in_mint else BPS
    info = SwapInfo(
        amm_key=str(leg.pool.address),
        label=leg.pool.venue.label,
        input_mint=str(leg.in_mint),
        output_mint=str(leg.out_mint),
        in_amount=str(leg.in_amount),
        out_amount=str(leg.out_amount),
        fee_amount=str(leg.fee_amount),
        fee_mint=str(leg.fee_mint),
    )
    return RouteLeg(swap_info=info, percent=share_bps // 100, bps=share_bps)


def _offer_view(offer: Offer, route: Route, token_in: Token, token_out: Token) -> OfferView:
    venue, quote = offer.pool.venue, offer.quote
    return OfferView(
        venue=venue,
        dex=venue.dex,
        label=venue.label,
        pool=str(offer.pool.address),
        out_amount=str(quote.out_amount) if quote else None,
        amount_out=to_units(quote.out_amount, token_out.decimals) if quote else None,
        price=price(quote.in_amount, token_in.decimals, quote.out_amount, token_out.decimals) if quote else None,
        fee_amount=str(quote.fee_amount) if quote else None,
        fee_mint=str(route.in_mint if quote.fee_on_input else route.out_mint) if quote else None,
        error=None if quote else offer.refusal,
    )


def _pool_view(front: Front, listing: Listing) -> PoolView:
    pool = listing.pool
    return PoolView(
        address=str(pool.address),
        venue=pool.venue,
        dex=pool.venue.dex,
        label=pool.venue.label,
        tokens=[_side(front, mint, reserve) for mint, reserve in zip(pool.mints, pool.reserves, strict=True)],
        fee_pct=to_units(pool.fee_bps_hundredths, _PER_PERCENT_DIGITS),
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
