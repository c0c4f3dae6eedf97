"""Routes made by hand over real pools: a split, a path of two hops, and an exact output."""

from typing import Any

from solders.pubkey import Pubkey

from bestex.market.tokens import Tokens
from bestex.routing.quote import Alternative, Leg, Offer, Route, max_in_amount, min_out_amount
from bestex.types import Mint, Routing, SwapMode, Token
from bestex.venues.pool import Pool
from tests.support.market import CLOCK, JUP, SOL, USDC, cpmm, dlmm

TOKENS = Tokens([SOL, USDC, JUP])
SLIPPAGE_BPS = 50
LARGE = cpmm(SOL, USDC, (10**13, 15 * 10**11))
SMALL = cpmm(SOL, USDC, (10**12, 15 * 10**10), index=1, fee=500)
BINS = dlmm(SOL, USDC, (10**13, 15 * 10**11), active_id=-1_898)
FIRST_HOP = cpmm(USDC, JUP, (10**12, 2 * 10**12))
SECOND_HOP = cpmm(JUP, SOL, (2 * 10**12, 7 * 10**12))


def leg(pool: Pool, in_mint: Mint, amount: int, mode: SwapMode = SwapMode.EXACT_IN, hop: int = 0) -> Leg:
    """The pool's own quote as a leg; at most the slippage worse."""
    quote = pool.quote(in_mint, amount, mode, CLOCK)
    one, other = pool.mints
    out_mint = other if in_mint == one else one
    if mode is SwapMode.EXACT_IN:
        threshold = min_out_amount(quote.out_amount, SLIPPAGE_BPS)
    else:
        threshold = max_in_amount(quote.in_amount, SLIPPAGE_BPS)
    return Leg(
        pool=pool,
        in_mint=in_mint,
        out_mint=out_mint,
        in_amount=quote.in_amount,
        out_amount=quote.out_amount,
        fee_amount=quote.fee_amount,
        fee_mint=in_mint if quote.fee_on_input else out_mint,
        other_amount_threshold=threshold,
        hop=hop,
    )


def route(legs: tuple[Leg, ...], offers: tuple[Offer, ...], **changes: Any) -> Route:
    """A route of these legs, from the input of the first to the output of the last."""
    hops = legs[-1].hop
    in_amount = sum(each.in_amount for each in legs if each.hop == 0)
    out_amount = sum(each.out_amount for each in legs if each.hop == hops)
    fields: dict[str, Any] = {
        "in_mint": legs[0].in_mint,
        "out_mint": legs[-1].out_mint,
        "swap_mode": SwapMode.EXACT_IN,
        "routing": Routing.AUTO,
        "in_amount": in_amount,
        "out_amount": out_amount,
        "slippage_bps": SLIPPAGE_BPS,
        "other_amount_threshold": sum(each.other_amount_threshold for each in legs if each.hop == hops),
        "price_impact_ppm": 3_121,
        "legs": legs,
        "offers": offers,
        "context_slot": CLOCK.slot,
        "bound": out_amount + 3,
        "bound_class": "any split over the pools of this pair",
        "cost": 33_000,
    }
    return Route(**fields | changes)


def offered(pool: Pool, in_mint: Mint, amount: int, mode: SwapMode = SwapMode.EXACT_IN) -> Offer:
    """The pool's offer for the whole amount."""
    return Offer(pool, pool.quote(in_mint, amount, mode, CLOCK))


def split_route() -> Route:
    """3,000 USDC into SOL: 62.5 % and 37.5 % of it, with one pool that refuses."""
    amount = 3_000_000_000
    offers = (offered(LARGE, USDC.mint, amount), offered(BINS, USDC.mint, amount), Offer(SMALL, None, "closed"))
    alternatives = (
        Alternative(
            kind="path",
            mints=(USDC.mint, JUP.mint, Pubkey.from_bytes(bytes(31) + b"\x05"), SOL.mint),
            pools=(FIRST_HOP.address, SECOND_HOP.address),
            in_amount=amount,
            out_amount=19_000_000_000,
            reason="nets less",
        ),
        Alternative(
            kind="split",
            mints=(USDC.mint, SOL.mint),
            pools=(LARGE.address, SMALL.address, BINS.address),
            in_amount=None,
            out_amount=None,
            reason="does not fit into one transaction",
        ),
    )
    legs = (leg(LARGE, USDC.mint, 1_875_000_000), leg(BINS, USDC.mint, 1_125_000_000))
    return route(legs, offers, best_single=leg(LARGE, USDC.mint, amount), alternatives=alternatives)


def path_route() -> Route:
    """1,000 USDC over JUP into SOL."""
    amount = 1_000_000_000
    first = leg(FIRST_HOP, USDC.mint, amount)
    second = leg(SECOND_HOP, JUP.mint, first.out_amount, hop=1)
    return route(
        (first, second),
        (offered(LARGE, USDC.mint, amount),),
        best_single=leg(LARGE, USDC.mint, amount),
        bound_class="any split on one path of at most 3 hops",
    )


def exact_out_route() -> Route:
    """Two SOL for USDC, one from each of two pools."""
    mode, each = SwapMode.EXACT_OUT, 1_000_000_000
    legs = (leg(LARGE, USDC.mint, each, mode), leg(SMALL, USDC.mint, each, mode))
    offers = tuple(offered(pool, USDC.mint, 2 * each, mode) for pool in (SMALL, LARGE))
    return route(
        legs,
        offers,
        swap_mode=mode,
        bound=sum(each.in_amount for each in legs) - 5_000,
        best_single=leg(SMALL, USDC.mint, 2 * each, mode),
    )


def token(symbol: str) -> Token:
    """A token of these markets."""
    return TOKENS.find(symbol)
