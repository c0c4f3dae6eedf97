"""What a comparison of pools says: every pool's offer, and the route that was chosen."""

import msgspec

from bestex.types import Mint, Slot, SwapMode
from bestex.venues.pool import Pool, Quote


class Offer(msgspec.Struct, frozen=True, gc=False):
    """One pool's answer: a quote, or why there is none."""

    pool: Pool
    quote: Quote | None
    refusal: str | None = None


class Leg(msgspec.Struct, frozen=True, gc=False):
    """One swap of a route. Base units."""

    pool: Pool
    in_mint: Mint
    out_mint: Mint
    in_amount: int
    out_amount: int
    fee_amount: int
    fee_mint: Mint


class Route(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The chosen way to trade, and all offers it was chosen from. Base units."""

    in_mint: Mint
    out_mint: Mint
    swap_mode: SwapMode
    in_amount: int
    out_amount: int
    slippage_bps: int
    other_amount_threshold: int
    """The least that the transaction accepts to receive (exact_in): rounded up, never above `out_amount`."""
    price_impact_ppm: int
    """How far the trade moves its own price, in millionths, fees not counted."""
    legs: tuple[Leg, ...]
    offers: tuple[Offer, ...]
    """Best first; pools that refuse come last."""
    context_slot: Slot
    """The oldest slot that an offer was computed from."""

    @property
    def runner_up(self) -> Offer | None:
        """The best offer of the other DEX."""
        chosen = self.legs[0].pool.venue.dex
        return next((offer for offer in self.offers if offer.quote and offer.pool.venue.dex != chosen), None)


def min_out_amount(out_amount: int, slippage_bps: int) -> int:
    """The least acceptable output for a quote, base units; rounded up, in the user's favor."""
    return -(-out_amount * (10_000 - slippage_bps) // 10_000)
