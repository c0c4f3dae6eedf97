"""What a comparison of pools says: every pool's offer, the route that was chosen, and how far it is from the best."""

from decimal import Decimal
from itertools import accumulate, pairwise

import msgspec
from solders.pubkey import Pubkey

from bestex.types import BPS, Mint, Routing, Slot, SwapMode
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
    other_amount_threshold: int
    """The least that the leg must pay (exact_in), or the most that it may ask (exact_out)."""
    hop: int = 0
    """From 0. Legs of one hop trade the same pair; all of them run before those of the next."""


class Alternative(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A route that was not taken. Base units."""

    kind: str
    """`single`, `split` or `path`."""
    mints: tuple[Mint, ...]
    pools: tuple[Pubkey, ...]
    in_amount: int | None
    """None where it cannot trade the amount."""
    out_amount: int | None
    reason: str
    """Why it was not taken."""


class Route(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The chosen way to trade, and all offers it was chosen from. Base units."""

    in_mint: Mint
    out_mint: Mint
    swap_mode: SwapMode
    routing: Routing
    """What was asked for."""
    in_amount: int
    out_amount: int
    slippage_bps: int
    other_amount_threshold: int
    """The least that the transaction accepts to receive (exact_in), rounded up, never above `out_amount`; or the most
    that it may pay (exact_out), rounded down, never below `in_amount`."""
    price_impact_ppm: int
    """How far the trade moves its own price, in millionths, fees not counted; of several legs the weighted mean, of
    several hops all together."""
    legs: tuple[Leg, ...]
    """In the order in which they run: all of them, or none."""
    offers: tuple[Offer, ...]
    """Every pool of the pair on the whole amount: best first; pools that refuse come last."""
    context_slot: Slot
    """The oldest slot that an offer was computed from."""
    bound: int | None
    """No route of `bound_class` pays more (exact_in), or asks less (exact_out), before network costs."""
    bound_class: str
    """The routes that `bound` speaks of: `any split over the pools of this pair`..."""
    cost: int = 0
    """Base and priority fee of all legs, in base units of the output (exact_in) or the input (exact_out)."""
    best_single: Leg | None = None
    """The best that one pool offers for the whole amount."""
    alternatives: tuple[Alternative, ...] = ()
    """Best first."""

    @property
    def optimality_gap(self) -> int | None:
        """How much more any route of `bound_class` could pay (exact_in), or how much less ask (exact_out)."""
        if self.bound is None:
            return None
        return self.bound - self.out_amount if self.swap_mode is SwapMode.EXACT_IN else self.in_amount - self.bound

    @property
    def optimality_gap_bps(self) -> Decimal | None:
        """The same in basis points of the bound."""
        return Decimal(self.optimality_gap or 0) * BPS / self.bound if self.bound else None

    @property
    def gain_over_single_bps(self) -> Decimal | None:
        """How much more it pays (exact_in), or less it asks (exact_out), than the best single pool does."""
        single = self.best_single
        if single is None:
            return None
        if self.swap_mode is SwapMode.EXACT_IN:
            return Decimal((self.out_amount - single.out_amount) * BPS) / single.out_amount
        return Decimal((single.in_amount - self.in_amount) * BPS) / single.in_amount

    @property
    def most_in(self) -> int:
        """The most that the transaction can spend."""
        return self.in_amount if self.swap_mode is SwapMode.EXACT_IN else self.other_amount_threshold

    @property
    def least_out(self) -> int:
        """The least that the transaction can bring."""
        return self.other_amount_threshold if self.swap_mode is SwapMode.EXACT_IN else self.out_amount

    @property
    def hops(self) -> int:
        return self.legs[-1].hop + 1

    @property
    def kind(self) -> str:
        """`single`, `split` or `path`."""
        return "path" if self.hops > 1 else "single" if len(self.legs) == 1 else "split"

    @property
    def mints(self) -> tuple[Mint, ...]:
        """From the input to the output, by way of the mints between them."""
        return (self.in_mint, *dict.fromkeys(leg.out_mint for leg in self.legs))

    @property
    def biggest(self) -> Leg:
        """The leg that moves most of the first hop."""
        return max((leg for leg in self.legs if leg.hop == 0), key=lambda leg: leg.in_amount)

    @property
    def best_by_dex(self) -> dict[str, Offer]:
        """The best offer of each DEX: of one pool, for the whole amount."""
        best: dict[str, Offer] = {}
        for offer in self.offers:
            if offer.quote is not None:
                best.setdefault(offer.pool.venue.dex, offer)
        return best

    @property
    def runner_up(self) -> Offer | None:
        """The best offer of the other DEX than the one of the best single pool."""
        return next(iter(list(self.best_by_dex.values())[1:]), None)


def min_out_amount(out_amount: int, slippage_bps: int) -> int:
    """The least acceptable output for a quote, base units; rounded up, in the user's favor."""
    return -(-out_amount * (BPS - slippage_bps) // BPS)


def max_in_amount(in_amount: int, slippage_bps: int) -> int:
    """The greatest acceptable input for a quote, base units; rounded down, in the user's favor."""
    return in_amount * (BPS + slippage_bps) // BPS


def shares(amounts: list[int], whole: int) -> list[int]:
    """Each amount's share of their sum, of `whole` altogether: rounded so that the shares add up exactly."""
    total = sum(amounts)
    ends = [0, *(end * whole // total for end in accumulate(amounts))]
    return [end - start for start, end in pairwise(ends)]
