"""A quote on screen: what a trader wants to know first, the route's legs, and what one pool alone would do."""

from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal

from rich.text import Text

from bestex.cli.narrate import base_units, short
from bestex.cli.output import bar, print_line, print_table
from bestex.client.quotes import Alternative, Offer, Quote, RouteLeg
from bestex.orders.amount import to_units

_BPS = 10_000
_BAR = 20
"""Characters of a bar for the whole amount."""
_LEAST_SHOWN_BPS = Decimal("0.01")


def print_quote(quote: Quote) -> None:
    """The headline, a line for each leg, a line for each pool alone, and the routes that were not taken."""
    for line in headline(quote):
        print_line(line)
    print_line()
    _print_legs(quote)
    print_line()
    _print_pools(quote)
    if quote.alternatives:
        print_line()
    for alternative in quote.alternatives:
        print_line(_not_taken(alternative, quote))


def headline(quote: Quote) -> Iterator[str]:
    """The trade, its limits, its distance from the best possible and from one pool alone."""
    exact_out = _is_exact_out(quote)
    simulated = "; SIMULATED" if quote.simulated else ""
    yield (
        f"{quote.amount_in} {quote.token_in} -> {quote.amount_out} {quote.token_out}, "
        f"{quote.price} {quote.price_unit}{simulated}"
    )
    limit = quote.other_amount_threshold
    bound = f"most in {_in_units(limit, quote)}" if exact_out else f"least out {_out_units(limit, quote)}"
    yield (
        f"{_kind(quote)}; price impact {quote.price_impact_pct} %; {bound} at {quote.slippage_bps} bps slippage; "
        f"network cost {_measured(quote.network_cost, quote)}"
    )
    if quote.optimality_gap == "0":
        yield f"gap: 0, proven the best possible: {quote.bound_class}"
    elif quote.optimality_gap is not None and quote.optimality_gap_bps is not None:
        yield (
            f"gap: at most {base_units(quote.optimality_gap)} ({gap_bps(quote.optimality_gap_bps)} bps) "
            f"{'above' if exact_out else 'below'} the best possible: {quote.bound_class}"
        )
    if quote.route_kind != "single" and quote.best_single is not None and quote.gain_over_single_bps is not None:
        single = quote.best_single
        yield (
            f"gain: {Decimal(quote.gain_over_single_bps):+} bps over the best single pool, {single.label} "
            f"{_amount(single, quote) or '-'} {_measured_token(quote)}"
        )


def behind_bps(amount: int, best: int, *, exact_out: bool = False) -> str:
    """How much less than `best` it pays, in basis points: `-12.30`; with `exact_out`, how much more it asks.

    Positive: better.
    """
    worse = best - amount if exact_out else amount - best
    return f"{Decimal(worse) * _BPS / best:.2f}"


def gap_bps(exact: str) -> str:
    """The gap in two decimals, never less than it is: `0`, `<0.01`, `1.24`."""
    gap = Decimal(exact)
    if gap == 0:
        return "0"
    return "<0.01" if gap < _LEAST_SHOWN_BPS else f"{gap.quantize(_LEAST_SHOWN_BPS, rounding=ROUND_CEILING):f}"


def _print_legs(quote: Quote) -> None:
    several = quote.route_plan[-1].hop > 0
    heads = (*(("HOP",) if several else ()), "SHARE", "", "VENUE", "IN", "OUT", "FEE BPS", "POOL")
    rows = []
    for leg in quote.route_plan:
        hop = (str(leg.hop + 1),) if several else ()
        share = f"{Decimal(leg.bps) / 100:.2f} %"
        rows.append((*hop, share, Text(bar(leg.bps, _BPS, _BAR), style="green"), *_leg(leg)))
    print_table(heads, rows, right=("SHARE", "IN", "OUT", "FEE BPS"))


def _leg(leg: RouteLeg) -> tuple[str, ...]:
    swap = leg.swap_info
    paid = _with_token(leg.amount_in, swap.in_amount, leg.token_in, swap.input_mint)
    received = _with_token(leg.amount_out, swap.out_amount, leg.token_out, swap.output_mint)
    on_input = swap.fee_mint == swap.input_mint
    whole = int(swap.in_amount) if on_input else int(swap.out_amount) + int(swap.fee_amount)
    fee_bps = Decimal(swap.fee_amount) * _BPS / whole if whole else Decimal(0)
    return swap.label, paid, received, f"{fee_bps:.1f}", swap.amm_key


def _print_pools(quote: Quote) -> None:
    if not quote.quotes:
        print_line(f"no pool trades {quote.token_in} against {quote.token_out} directly")
        return
    heading = f"{'IN' if _is_exact_out(quote) else 'OUT'} {_measured_token(quote)}"
    best_of = {offer.pool: f"best {dex}" for dex, offer in quote.best_by_venue.items()}
    rows = [_offer(one, quote, best_of.get(one.pool, "")) for one in quote.quotes]
    print_table(
        ("ONE POOL", heading, "PRICE", "BPS TO ROUTE", "", "POOL"), rows, right=(heading, "PRICE", "BPS TO ROUTE")
    )


def _offer(one: Offer, quote: Quote, mark: str) -> tuple[str | Text, ...]:
    amount = _amount(one, quote)
    if amount is None:
        return one.label, "-", "-", "-", "", f"{one.pool} ({one.error or 'no quote'})"
    exact_out = _is_exact_out(quote)
    raw, best = (one.in_amount, quote.in_amount) if exact_out else (one.out_amount, quote.out_amount)
    style = "bold" if mark else ""
    behind = behind_bps(int(raw or 0), int(best), exact_out=exact_out)
    return Text(one.label, style=style), Text(amount, style=style), one.price or "-", behind, mark, one.pool


def _not_taken(one: Alternative, quote: Quote) -> str:
    if one.kind == "path":
        way = " > ".join(symbol or short(mint) for symbol, mint in zip(one.tokens, one.mints, strict=True))
        what = f"path {way}"
    elif one.kind == "split":
        what = f"split over {len(one.pools)} pools" if one.pools else "split"
    else:
        labels = [offer.label for offer in quote.quotes if offer.pool in one.pools]
        what = ", ".join(["one pool", *labels])
    amount = _amount(one, quote)
    amount = f", {amount} {_measured_token(quote)}" if amount else ""
    return f"not taken: {what}{amount}: {one.reason}"


def _kind(quote: Quote) -> str:
    legs = quote.route_plan
    match quote.route_kind:
        case "single":
            return f"one pool, {legs[0].swap_info.label}"
        case "split":
            return f"split over {len(legs)} pools"
    mints = dict.fromkeys((leg.swap_info.input_mint, leg.token_in) for leg in legs)
    way = [symbol or short(mint) for mint, symbol in mints]
    return f"path {' > '.join([*way, quote.token_out])}, {len(legs)} swaps"


def _is_exact_out(quote: Quote) -> bool:
    return quote.swap_mode == "ExactOut"


def _amount(one: Offer | Alternative, quote: Quote) -> str | None:
    """The amount that is not fixed, in token units."""
    return one.amount_in if _is_exact_out(quote) else one.amount_out


def _measured_token(quote: Quote) -> str:
    return quote.token_in if _is_exact_out(quote) else quote.token_out


def _measured(raw: str, quote: Quote) -> str:
    return _in_units(raw, quote) if _is_exact_out(quote) else _out_units(raw, quote)


def _in_units(raw: str, quote: Quote) -> str:
    return f"{to_units(int(raw), _decimals(quote.in_amount, quote.amount_in))} {quote.token_in}"


def _out_units(raw: str, quote: Quote) -> str:
    return f"{to_units(int(raw), _decimals(quote.out_amount, quote.amount_out))} {quote.token_out}"


def _decimals(raw: str, units: str) -> int:
    """A token's decimals, from one amount in both its units."""
    return -(Decimal(units) / int(raw)).adjusted()


def _with_token(units: str | None, raw: str, symbol: str | None, mint: str) -> str:
    return f"{units} {symbol}" if units is not None else f"{raw} raw {short(mint)}"
