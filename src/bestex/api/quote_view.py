"""A route as the API shows it: its legs, the proof of its distance from the best, and what it was chosen from."""

from decimal import ROUND_CEILING, Context, Decimal
from itertools import groupby

from bestex.api.market_schemas import AlternativeView, OfferView, QuoteView, RouteLeg, SwapInfo
from bestex.api.schemas import swap_mode_name
from bestex.errors import UnknownToken
from bestex.market.tokens import Tokens
from bestex.orders.amount import price, to_units
from bestex.routing.quote import Alternative, Leg, Offer, Route, shares
from bestex.types import BPS, Mint, Token
from bestex.venues.pool import Pool

PER_PERCENT_DIGITS = 4
"""Millionths and hundredths of a basis point are both ten-thousandths of a percent."""
_GAP_STEP = Decimal("0.0001")
_GAIN_STEP = Decimal("0.01")
_UP = Context(prec=40, rounding=ROUND_CEILING)


def quote_view(route: Route, tokens: Tokens, *, time_taken_s: float, simulated: bool) -> QuoteView:
    """A route and its rivals. Raises UnknownToken unless both ends of the route are known."""
    paid, received = tokens.of_mint(route.in_mint), tokens.of_mint(route.out_mint)
    view = _View(route, tokens, paid, received)
    gap, gap_bps, gain = route.optimality_gap, route.optimality_gap_bps, route.gain_over_single_bps
    return QuoteView(
        input_mint=str(route.in_mint),
        in_amount=str(route.in_amount),
        output_mint=str(route.out_mint),
        out_amount=str(route.out_amount),
        other_amount_threshold=str(route.other_amount_threshold),
        swap_mode=swap_mode_name(route.swap_mode),
        slippage_bps=route.slippage_bps,
        price_impact_pct=to_units(route.price_impact_ppm, PER_PERCENT_DIGITS),
        route_plan=view.legs(),
        context_slot=route.context_slot,
        time_taken=round(time_taken_s, 6),
        token_in=paid.symbol,
        token_out=received.symbol,
        amount_in=to_units(route.in_amount, paid.decimals),
        amount_out=to_units(route.out_amount, received.decimals),
        price=price(route.in_amount, paid.decimals, route.out_amount, received.decimals),
        price_unit=f"{received.symbol} per {paid.symbol}",
        routing=route.routing,
        route_kind=route.kind,
        venue=route.biggest.pool.venue,
        bound=None if route.bound is None else str(route.bound),
        bound_class=route.bound_class,
        optimality_gap=None if gap is None else str(gap),
        optimality_gap_bps=None if gap_bps is None else f"{gap_bps.quantize(_GAP_STEP, context=_UP):f}",
        network_cost=str(route.cost),
        best_single=view.single(route.best_single) if route.best_single else None,
        gain_over_single_bps=None if gain is None else f"{gain.quantize(_GAIN_STEP):f}",
        quotes=[view.offer(offer) for offer in route.offers],
        best_by_venue={dex: view.offer(offer) for dex, offer in route.best_by_dex.items()},
        alternatives=[view.alternative(alternative) for alternative in route.alternatives],
        simulated=simulated,
    )


class _View:
    """The parts of one route."""

    def __init__(self, route: Route, tokens: Tokens, paid: Token, received: Token) -> None:
        self._route = route
        self._tokens = tokens
        self._paid = paid
        self._received = received

    def legs(self) -> list[RouteLeg]:
        plan: list[RouteLeg] = []
        for _, hop in groupby(self._route.legs, key=lambda leg: leg.hop):
            legs = list(hop)
            amounts = [leg.in_amount for leg in legs]
            plan += map(self._leg, legs, shares(amounts, 100), shares(amounts, BPS))
        return plan

    def _leg(self, leg: Leg, percent: int, bps: int) -> RouteLeg:
        paid, received = self._token(leg.in_mint), self._token(leg.out_mint)
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
        return RouteLeg(
            swap_info=info,
            percent=percent,
            bps=bps,
            hop=leg.hop,
            other_amount_threshold=str(leg.other_amount_threshold),
            venue=leg.pool.venue,
            dex=leg.pool.venue.dex,
            token_in=paid.symbol if paid else None,
            token_out=received.symbol if received else None,
            amount_in=to_units(leg.in_amount, paid.decimals) if paid else None,
            amount_out=to_units(leg.out_amount, received.decimals) if received else None,
        )

    def single(self, leg: Leg) -> OfferView:
        return self._quoted(leg.pool, leg.in_amount, leg.out_amount, leg.fee_amount, leg.fee_mint)

    def offer(self, offer: Offer) -> OfferView:
        pool, quote = offer.pool, offer.quote
        if quote is not None:
            fee_mint = self._route.in_mint if quote.fee_on_input else self._route.out_mint
            return self._quoted(pool, quote.in_amount, quote.out_amount, quote.fee_amount, fee_mint)
        return OfferView(
            venue=pool.venue,
            dex=pool.venue.dex,
            label=pool.venue.label,
            pool=str(pool.address),
            in_amount=None,
            out_amount=None,
            amount_in=None,
            amount_out=None,
            price=None,
            fee_amount=None,
            fee_mint=None,
            error=offer.refusal,
        )

    def _quoted(self, pool: Pool, in_amount: int, out_amount: int, fee_amount: int, fee_mint: Mint) -> OfferView:
        paid, received = self._paid, self._received
        return OfferView(
            venue=pool.venue,
            dex=pool.venue.dex,
            label=pool.venue.label,
            pool=str(pool.address),
            in_amount=str(in_amount),
            out_amount=str(out_amount),
            amount_in=to_units(in_amount, paid.decimals),
            amount_out=to_units(out_amount, received.decimals),
            price=price(in_amount, paid.decimals, out_amount, received.decimals),
            fee_amount=str(fee_amount),
            fee_mint=str(fee_mint),
            error=None,
        )

    def alternative(self, one: Alternative) -> AlternativeView:
        paid, received = self._paid, self._received
        tokens = [self._token(mint) for mint in one.mints]
        return AlternativeView(
            kind=one.kind,
            mints=[str(mint) for mint in one.mints],
            tokens=[token.symbol if token else None for token in tokens],
            pools=[str(pool) for pool in one.pools],
            in_amount=None if one.in_amount is None else str(one.in_amount),
            out_amount=None if one.out_amount is None else str(one.out_amount),
            amount_in=None if one.in_amount is None else to_units(one.in_amount, paid.decimals),
            amount_out=None if one.out_amount is None else to_units(one.out_amount, received.decimals),
            reason=one.reason,
        )

    def _token(self, mint: Mint) -> Token | None:
        try:
            return self._tokens.of_mint(mint)
        except UnknownToken:
            return None
