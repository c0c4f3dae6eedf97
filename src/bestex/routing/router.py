"""Exact offers of all pools of a pair, best first."""

from collections.abc import Sequence

from bestex.errors import SwapRefused
from bestex.routing.quote import Offer
from bestex.types import ChainClock, Mint, SwapMode
from bestex.venues.pool import ARRAY_LIMIT, Pool, Quote

ONE_POOL = "one pool of this pair"
_PPM = 1_000_000


def compare(
    pools: Sequence[Pool],
    in_mint: Mint,
    amount: int,
    clock: ChainClock,
    swap_mode: SwapMode = SwapMode.EXACT_IN,
) -> list[Offer]:
    """Every pool's exact offer, best first; of equal ones the one with fewer steps, then by address.

    `amount` base units are paid (exact_in) or received (exact_out).
    """
    offers: list[Offer] = []
    for pool in pools:
        try:
            quote = pool.quote(in_mint, amount, swap_mode, clock)
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
    if quote.out_amount == 0:
        return Offer(pool, None, "The swap would pay nothing")
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


def _rank(offer: Offer) -> tuple[bool, int, int, int, bytes]:
    quote = offer.quote
    if quote is None:
        return True, 0, 0, 0, bytes(offer.pool.address)
    return False, quote.in_amount, -quote.out_amount, quote.steps, bytes(offer.pool.address)
