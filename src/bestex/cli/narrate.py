"""An event in one line, for people."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby

import msgspec

from bestex.orders.amount import to_units
from bestex.orders.events import (
    Accepted,
    Built,
    Canceled,
    CancelRequested,
    Confirmed,
    Event,
    Expired,
    Failed,
    Finalized,
    PoolQuote,
    Resumed,
    Retrying,
    RolledBack,
    Routed,
    RoutedLeg,
    Submitted,
)
from bestex.types import Routing, SwapMode


class Pair(msgspec.Struct, frozen=True):
    """What an order trades, as far as needed to write amounts: symbols, and decimals."""

    token_in: str
    token_out: str
    out_decimals: int | None
    symbols: Mapping[str, str] = {}
    """By mint, for the tokens on a path."""
    exact_out: bool = False
    in_decimals: int | None = None

    def offered(self, quote: PoolQuote | None) -> str | None:
        """What a pool would pay, or ask (exact_out), in token units; without decimals in base units, marked as such.

        None where it has no quote.
        """
        if quote is None:
            return None
        amount = quote.in_amount if self.exact_out else quote.out_amount
        decimals = self.in_decimals if self.exact_out else self.out_decimals
        if amount is None:
            return None
        return f"{amount} base units of" if decimals is None else to_units(int(amount), decimals)


def short(text: str, keep: int = 4) -> str:
    """Head and tail of an id, a signature or an address."""
    return text if len(text) <= 2 * keep + 1 else f"{text[:keep]}…{text[-keep:]}"


def clock(at: datetime) -> str:
    """Time of day in UTC, to the millisecond."""
    return at.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3] + "Z"


def base_units(amount: str) -> str:
    """An amount in base units, in words."""
    return f"{amount} base unit{'' if amount in {'1', '-1', '+1'} else 's'}"


def word(event: Event) -> str:
    """The status to show: the order's own, and `finalized` once nothing can undo the fill."""
    return "finalized" if isinstance(event, Finalized) else event.status.value


def best_of(event: Routed, dex: str) -> PoolQuote | None:
    """The best quote of one DEX (`Raydium`, `Meteora`); quotes come best first."""
    wanted = dex.casefold()
    return next((quote for quote in event.quotes if quote.dex.casefold() == wanted and quote.out_amount), None)


def line(event: Event, pair: Pair) -> str:
    """Time, status and what explains it."""
    return f"{clock(event.at)}  {word(event):<9}  {explain(event, pair)}"


def explain(event: Event, pair: Pair) -> str:  # noqa: PLR0911 - one case for each kind of event
    """What an event says beyond its status."""
    match event:
        case Accepted():
            return _accepted(event)
        case Routed():
            return _routed(event, pair)
        case Built():
            return f"{event.size_bytes} bytes, fee at most {event.max_fee_lamports} lamports"
        case Submitted():
            return f"attempt {event.attempt}: tx {event.tx_hash}"
        case Confirmed():
            return _confirmed(event, pair)
        case Finalized():
            return f"slot {event.slot}: the fill can no longer be undone"
        case Retrying():
            return f"{_error(event.error.code, event.error.message)}; next try at {clock(event.retry_at)}"
        case Failed():
            return f"{_error(event.error.code, event.error.message)}; money moved: {event.error.money_moved}"
        case RolledBack() | Resumed() | CancelRequested() | Canceled() | Expired():
            return event.explanation


def _accepted(event: Accepted) -> str:
    routing = "" if event.routing == Routing.AUTO else f", routing {event.routing}"
    if event.swap_mode == SwapMode.EXACT_OUT:
        most = f", at most {event.max_amount_in} {event.token_in}" if event.max_amount_in else ""
        trade = f"{event.token_in} -> {event.amount_out} {event.token_out} exactly{most}"
    else:
        trade = f"{event.amount_in} {event.token_in} -> {event.token_out}"
    return f"{trade}, slippage {event.slippage_bps} bps{routing}"


def _routed(event: Routed, pair: Pair) -> str:
    if len(event.legs) < 2:
        return f"{event.venue} chosen at {event.price}; {_best_pools(event, pair)}"
    gain = f", {Decimal(event.gain_over_single_bps):+} bps over one pool" if event.gain_over_single_bps else ""
    gap = f", gap at most {base_units(event.optimality_gap)}" if event.optimality_gap else ""
    return f"{_legs(event.legs, pair)} at {event.price}{gain}{gap}; {_best_pools(event, pair)}"


def _legs(legs: Sequence[RoutedLeg], pair: Pair) -> str:
    """`raydium_clmm 62.10 % + meteora_dlmm 37.90 %`; on a path hop by hop, `USDC > USDT raydium_cpmm, USDT > ...`."""
    if legs[-1].hop == 0:
        return " + ".join(f"{leg.venue} {_percent(leg)}" for leg in legs)
    hops = []
    for _, hop in groupby(legs, key=lambda leg: leg.hop):
        parts = list(hop)
        way = " > ".join(pair.symbols.get(mint) or short(mint) for mint in (parts[0].input_mint, parts[0].output_mint))
        swaps = " + ".join(f"{leg.venue} {_percent(leg)}" if len(parts) > 1 else leg.venue for leg in parts)
        hops.append(f"{way} {swaps}")
    return ", ".join(hops)


def _percent(leg: RoutedLeg) -> str:
    return f"{Decimal(leg.bps) / 100:.2f} %"


def _best_pools(event: Routed, pair: Pair) -> str:
    if not event.quotes:
        return f"no pool trades {pair.token_in} against {pair.token_out} directly"
    offers = [f"{dex} {pair.offered(best_of(event, dex)) or 'none'}" for dex in ("Raydium", "Meteora")]
    return f"{', '.join(offers)} {pair.token_in if pair.exact_out else pair.token_out}"


def _confirmed(event: Confirmed, pair: Pair) -> str:
    simulated = " SIMULATED" if event.simulated else ""
    moved = f" ({base_units(f'{int(event.quote_difference):+}')})" if event.quote_difference != "0" else ""
    pools = f" and {len(event.legs) - 1} more" if len(event.legs) > 1 else ""
    paid = f" for {event.amount_in} {pair.token_in}" if pair.exact_out else ""
    return (
        f"{event.amount_out} {pair.token_out}{paid} from {event.venue}{pools} "
        f"at {event.executed_price} {event.price_unit}, slippage {event.slippage_bps_realized} bps{moved}, "
        f"tx {event.tx_hash}{simulated}"
    )


def _error(code: str, message: str) -> str:
    return f"{code}: {message}"
