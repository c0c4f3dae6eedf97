"""Choose the route that nets most of those that were asked for, and say what became of the others."""

from collections.abc import Callable
from decimal import Decimal

import msgspec

from bestex.errors import NoRoute
from bestex.routing.certificate import Split, Swap
from bestex.routing.legs import Rules
from bestex.routing.paths import Path, best_path
from bestex.routing.quote import Alternative, Leg, Offer, Route, max_in_amount, min_out_amount
from bestex.routing.router import ONE_POOL, compare, price_impact_ppm
from bestex.routing.split import split
from bestex.routing.wish import Market, Wish
from bestex.types import BPS, Mint, Routing, SwapMode

ANY_SPLIT = "any split over the pools of this pair, in one transaction"
ANY_PATH = "any split on one path of at most {hops} hops, in one transaction"
SOME_PATHS = "any split on one of the {paths} most promising paths of at most {hops} hops, in one transaction"
HOPS = 3
_PATH_MARGIN_BPS = 5
"""A path's first hops have no tolerance, as the next ones name their inputs: what moves their pools fails the order's
try, and costs time and a fee."""
_PPM = 1_000_000


class _Found(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A route that can be taken."""

    mints: tuple[Mint, ...]
    hops: tuple[tuple[Swap, ...], ...]
    in_amount: int
    out_amount: int
    cost: int
    bound: int
    bound_class: str

    @property
    def kind(self) -> str:
        return "path" if len(self.hops) > 1 else "single" if len(self.hops[0]) == 1 else "split"

    @property
    def swaps(self) -> tuple[Swap, ...]:
        return tuple(swap for hop in self.hops for swap in hop)


def choose(wish: Wish, market: Market, rules: Rules) -> Route:
    """The route to take. Raises NoRoute, with each pool's reason, when nothing can trade this amount."""
    return _Choice(wish, market, rules).run()


class _Choice:
    def __init__(self, wish: Wish, market: Market, rules: Rules) -> None:
        self._wish = wish
        self._market = market
        self._rules = rules
        self._exact_in = wish.swap_mode is SwapMode.EXACT_IN
        self._offers = compare(market.pools, wish.in_mint, wish.amount, market.clock, wish.swap_mode)
        self._offers += [Offer(pool, None, reason) for pool, reason in market.stale]
        self._found: list[_Found] = []
        self._own: Split | None = None
        """The split over the pair's own pools."""
        self._refused: list[Alternative] = []

    def run(self) -> Route:
        routing = self._wish.routing
        best = self._best_single()
        if best is not None:
            self._found.append(best)
        if routing is not Routing.BEST:
            self._look("split", self._split)
        if routing is Routing.AUTO and self._exact_in and self._market.paths:
            self._look("path", self._path)
        if not self._found:
            raise self._none()
        chosen = max(self._found, key=self._worth)
        most = self._wish.max_in_amount
        if not self._exact_in and most is not None and chosen.in_amount > most:
            raise NoRoute(
                f"the pools ask {chosen.in_amount} base units, more than the {most} that may be paid", retryable=True
            )
        if routing is not Routing.BEST:
            # The same bound for all: that of the widest class which was searched.
            widest = self._found[-1]
            bound = max(chosen.out_amount, widest.bound) if self._exact_in else min(chosen.in_amount, widest.bound)
            chosen = msgspec.structs.replace(chosen, bound=bound, bound_class=widest.bound_class)
        return self._route(chosen, best)

    def _look(self, kind: str, search: Callable[[], _Found]) -> None:
        try:
            self._found.append(search())
        except NoRoute as refusal:
            mints = (self._wish.in_mint, self._wish.out_mint)
            self._refused.append(
                Alternative(kind=kind, mints=mints, pools=(), in_amount=None, out_amount=None, reason=refusal.message)
            )

    def _none(self) -> NoRoute:
        reasons = [f"{offer.pool.venue.label} {offer.pool.address}: {offer.refusal}" for offer in self._offers]
        if self._wish.routing is not Routing.BEST:
            reasons += [f"{refused.kind}: {refused.reason}" for refused in self._refused]
        told = ": " + "; ".join(reasons) if reasons else ""
        return NoRoute(f"no pool can trade this amount{told}", pools=len(self._offers), retryable=True)

    def _worth(self, found: _Found) -> tuple[int, int]:
        """As `_net`, less what a path must pay on top to be taken where the pair has pools of its own."""
        net, legs = self._net(found)
        alone = len(found.hops) == 1 or all(len(other.hops) > 1 for other in self._found)
        return net if alone else net - _margin(found.out_amount), legs

    def _net(self, found: _Found) -> tuple[int, int]:
        """More is better; of equals the one with fewer legs."""
        gross = found.out_amount if self._exact_in else -found.in_amount
        return gross - found.cost, -len(found.swaps)

    # --- what can be taken --------------------------------------------------------------------------------------------

    def _best_single(self) -> _Found | None:
        offer = next((offer for offer in self._offers if offer.quote and self._fits(offer)), None)
        if offer is None or offer.quote is None:
            return None
        quote = offer.quote
        return self._direct(
            (Swap(offer.pool, quote),), quote.out_amount if self._exact_in else quote.in_amount, ONE_POOL
        )

    def _fits(self, offer: Offer) -> bool:
        return self._rules.room_for([offer.pool.address])

    def _direct(self, swaps: tuple[Swap, ...], bound: int, bound_class: str) -> _Found:
        return _Found(
            mints=(self._wish.in_mint, self._wish.out_mint),
            hops=(swaps,),
            in_amount=sum(swap.quote.in_amount for swap in swaps),
            out_amount=sum(swap.quote.out_amount for swap in swaps),
            cost=self._rules.whole([swap.pool.address for swap in swaps]).cost,
            bound=bound,
            bound_class=bound_class,
        )

    def _split(self) -> _Found:
        wish, market = self._wish, self._market
        found: Split = split(market.pools, wish.in_mint, wish.amount, wish.swap_mode, market.clock, rules=self._rules)
        self._own = found
        return self._direct(found.legs, found.fit_bound, ANY_SPLIT)

    def _path(self) -> _Found:
        wish, market = self._wish, self._market
        found: Path = best_path(
            market.graph,
            wish.in_mint,
            wish.out_mint,
            wish.amount,
            market.clock,
            hops=HOPS,
            rules=self._rules,
            direct=self._own,
            least_net=0 if self._own is None else self._own.net + _margin(self._own.out_amount),
        )
        some = SOME_PATHS if market.paths_left_out else ANY_PATH
        return _Found(
            mints=found.mints,
            hops=tuple(hop.legs for hop in found.hops),
            in_amount=found.in_amount,
            out_amount=found.out_amount,
            cost=found.cost,
            bound=found.fit_bound,
            bound_class=some.format(hops=HOPS, paths=market.paths),
        )

    # --- what is told -------------------------------------------------------------------------------------------------

    def _route(self, chosen: _Found, best: _Found | None) -> Route:
        wish = self._wish
        threshold = self._threshold(chosen)
        return Route(
            in_mint=wish.in_mint,
            out_mint=wish.out_mint,
            swap_mode=wish.swap_mode,
            routing=wish.routing,
            in_amount=chosen.in_amount,
            out_amount=chosen.out_amount,
            slippage_bps=wish.slippage_bps,
            other_amount_threshold=threshold,
            price_impact_ppm=_impact_ppm(chosen),
            legs=self._legs(chosen, threshold),
            offers=tuple(self._offers),
            context_slot=self._market.slot,
            bound=chosen.bound,
            bound_class=chosen.bound_class,
            cost=chosen.cost,
            best_single=None if best is None else self._legs(best, self._threshold(best))[0],
            alternatives=tuple(self._alternatives(chosen)),
        )

    def _threshold(self, found: _Found) -> int:
        wish = self._wish
        if self._exact_in:
            return min_out_amount(found.out_amount, wish.slippage_bps)
        most = max_in_amount(found.in_amount, wish.slippage_bps)
        return most if wish.max_in_amount is None else min(most, wish.max_in_amount)

    def _legs(self, found: _Found, threshold: int) -> tuple[Leg, ...]:
        """Hops hand over exactly what was quoted: only the last of them may pay less."""
        legs = []
        for hop, (in_mint, swaps) in enumerate(zip(found.mints, found.hops, strict=False)):
            last = hop == len(found.hops) - 1
            for swap in swaps:
                out = swap.quote.out_amount
                if not self._exact_in:
                    paid = swap.quote.in_amount
                    limit = paid + (threshold - found.in_amount) * paid // found.in_amount
                else:
                    limit = min_out_amount(out, self._wish.slippage_bps) if last else out
                legs.append(swap.as_leg(in_mint, limit, hop))
        return tuple(legs)

    def _alternatives(self, chosen: _Found) -> list[Alternative]:
        told = [
            Alternative(
                kind=found.kind,
                mints=found.mints,
                pools=tuple(swap.pool.address for swap in found.swaps),
                in_amount=found.in_amount,
                out_amount=found.out_amount,
                reason=self._worse_by(found, chosen),
            )
            for found in sorted(self._found, key=self._net, reverse=True)
            if found.hops != chosen.hops
        ]
        return list({(each.mints, each.pools): each for each in told}.values()) + self._refused

    def _worse_by(self, found: _Found, chosen: _Found) -> str:
        less = self._net(chosen)[0] - self._net(found)[0]
        if less < 0:
            more = Decimal(-less * BPS) / chosen.out_amount
            return f"nets {more:.2f} bps more, too little for a path: it fails when its first pools move"
        if not less:
            return "nets the same, over more pools" if len(found.swaps) > len(chosen.swaps) else "nets the same"
        bps = Decimal(less * BPS) / (chosen.out_amount if self._exact_in else chosen.in_amount)
        return f"nets {bps:.2f} bps less"


def _margin(out_amount: int) -> int:
    """What a path must net on top."""
    return out_amount * _PATH_MARGIN_BPS // BPS


def _impact_ppm(found: _Found) -> int:
    """Each hop's mean over its legs, weighted by their input; hops one after the other."""
    kept = _PPM
    for in_mint, swaps in zip(found.mints, found.hops, strict=False):
        paid = sum(swap.quote.in_amount for swap in swaps)
        lost = sum(price_impact_ppm(swap.pool, in_mint, swap.quote) * swap.quote.in_amount for swap in swaps)
        kept = kept * (_PPM * paid - lost) // (_PPM * paid)
    return _PPM - kept
