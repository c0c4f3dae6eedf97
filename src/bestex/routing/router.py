"""Choose the route: exact offers of all pools of a pair, best first."""

from collections.abc import Sequence

from bestex.errors import NoRoute, SwapRefused
from bestex.routing.quote import Leg, Offer, Route, min_out_amount
from bestex.types import ChainClock, Mint, Routing, Slot, SwapMode
from bestex.venues.pool import ARRAY_LIMIT, Pool, Quote

ONE_POOL = "one pool of this pair"
_PPM = 1_000_000


def best_route(
    pools: Sequence[Pool],
    in_mint: Mint,
    out_mint: Mint,
    in_amount: int,
    *,
    slippage_bps: int,
    clock: ChainClock,
    context_slot: Slot,
) -> Route:
    """The one pool that pays most for exactly `in_amount` base units, after all fees.

    Raises NoRoute, with each pool's reason, when none can trade this amount.
    """
    offers = compare(pools, in_mint, in_amount, clock)
    if not offers or offers[0].quote is None:
        reasons = "; ".join(f"{offer.pool.venue.label} {offer.pool.address}: {offer.refusal}" for offer in offers)
        raise NoRoute(
            "no pool can trade this amount" + (f": {reasons}" if reasons else ""), pools=len(offers), retryable=True
        )
    pool, quote = offers[0].pool, offers[0].quote
    leg = Leg(
        pool=pool,
        in_mint=in_mint,
        out_mint=out_mint,
        in_amount=quote.in_amount,
        out_amount=quote.out_amount,
        fee_amount=quote.fee_amount,
        fee_mint=in_mint if quote.fee_on_input else out_mint,
        other_amount_threshold=min_out_amount(quote.out_amount, slippage_bps),
    )
    return Route(
        in_mint=in_mint,
        out_mint=out_mint,
        swap_mode=SwapMode.EXACT_IN,
        routing=Routing.BEST,
        in_amount=quote.in_amount,
        out_amount=quote.out_amount,
        slippage_bps=slippage_bps,
        other_amount_threshold=min_out_amount(quote.out_amount, slippage_bps),
        price_impact_ppm=price_impact_ppm(pool, in_mint, quote),
        legs=(leg,),
        offers=tuple(offers),
        context_slot=context_slot,
        bound=quote.out_amount,
        bound_class=ONE_POOL,
        best_single=leg,
    )


def compare(pools: Sequence[Pool], in_mint: Mint, in_amount: int, clock: ChainClock) -> list[Offer]:
    """Every pool's exact offer, best first; at equal output the one with fewer steps, then by address."""
    offers: list[Offer] = []
    for pool in pools:
        try:
            quote = pool.quote(in_mint, in_amount, SwapMode.EXACT_IN, clock)
        except SwapRefused as refusal:
            offers.append(Offer(pool, None, f"{refusal.name}: {refusal.message}"))
        else:
            offers.append(_offer(pool, quote))
    offers.sort(key=_rank)
    return offers


def _offer(pool: Pool, quote: Quote) -> Offer:
    if quote.arrays > ARRAY_LIMIT:
        reason = f"The swap walks through {quote.arrays} tick or bin arrays; a transaction carries {ARRAY_LIMIT}"
        return Offer(pool, None, reason)
    return Offer(pool, quote)


def price_impact_ppm(pool: Pool, in_mint: Mint, quote: Quote) -> int:
    """How far the executed price, fees put back, is below the marginal price before the swap; millionths, >= 0."""
    spot_x64 = pool.spot_price_x64(in_mint)
    in_net = quote.in_amount - (quote.fee_amount if quote.fee_on_input else 0)
    out_gross = quote.out_amount + (0 if quote.fee_on_input else quote.fee_amount)
    at_spot = in_net * spot_x64
    if at_spot == 0:
        return 0
    return max(0, _PPM - (out_gross << 64) * _PPM // at_spot)


def _rank(offer: Offer) -> tuple[int, int, bytes]:
    if offer.quote is None:
        return 0, 0, bytes(offer.pool.address)
    return -offer.quote.out_amount, offer.quote.steps, bytes(offer.pool.address)
