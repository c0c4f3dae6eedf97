"""What a split says of itself: its legs, and how much better any other one could be."""

import msgspec

from bestex.routing.quote import Leg
from bestex.types import Mint, SwapMode
from bestex.venues.pool import Pool, Quote


class Swap(msgspec.Struct, frozen=True, gc=False):
    """One leg of a split."""

    pool: Pool
    quote: Quote

    def as_leg(self, in_mint: Mint, threshold: int, hop: int = 0) -> Leg:
        """The same as a leg of a `Route`. Transfer fees are in the amounts, not in the fee."""
        one, other = self.pool.mints
        out_mint = other if in_mint == one else one
        return Leg(
            pool=self.pool,
            in_mint=in_mint,
            out_mint=out_mint,
            in_amount=self.quote.in_amount,
            out_amount=self.quote.out_amount,
            fee_amount=self.quote.fee_amount,
            fee_mint=in_mint if self.quote.fee_on_input else out_mint,
            other_amount_threshold=threshold,
            hop=hop,
        )


class Excluded(msgspec.Struct, frozen=True, gc=False):
    """A pool that could not be considered, and why."""

    pool: Pool
    reason: str


class Split(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A trade of one pair over several pools. Base units."""

    swap_mode: SwapMode
    in_amount: int
    out_amount: int
    legs: tuple[Swap, ...]
    bound: int
    """exact_in: the most that any split over the pools considered could pay, however many legs it takes and whatever
    they cost. exact_out: the least that any could ask. Considered are all pools that are not `excluded`, for swaps
    within ARRAY_LIMIT tick or bin arrays each."""
    cost: int
    """What the legs cost by the rules, in the token of `bound`."""
    net_bound: int
    """The same after costs, over all splits with no more legs than the rules allow."""
    fit_bound: int
    """As `bound`, over all splits that the rules allow."""
    price: int
    """Marginal price that proves `bound`, PRICE_BITS fraction bits: output per input."""
    excluded: tuple[Excluded, ...]

    @property
    def optimality_gap(self) -> int:
        """How much more any split over these pools could pay (exact_in), or how much less ask (exact_out)."""
        return self.bound - self.out_amount if self.swap_mode is SwapMode.EXACT_IN else self.in_amount - self.bound

    @property
    def net(self) -> int:
        """Output less costs (exact_in), or input and costs (exact_out)."""
        if self.swap_mode is SwapMode.EXACT_IN:
            return self.out_amount - self.cost
        return self.in_amount + self.cost

    @property
    def net_gap(self) -> int:
        """How much better any split within the allowed number of legs could be after costs."""
        return self.net_bound - self.net if self.swap_mode is SwapMode.EXACT_IN else self.net - self.net_bound
