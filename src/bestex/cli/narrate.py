"""An event in one line, for people."""

from datetime import UTC, datetime

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
    Submitted,
)


class Pair(msgspec.Struct, frozen=True):
    """What an order trades, as far as needed to write amounts: symbols, and the decimals of what is received."""

    token_in: str
    token_out: str
    out_decimals: int | None

    def out_units(self, out_amount: str) -> str:
        """Token units of what is received, from base units; without decimals the base units, marked as such."""
        if self.out_decimals is None:
            return f"{out_amount} base units of"
        return to_units(int(out_amount), self.out_decimals)


def short(text: str, keep: int = 4) -> str:
    """Head and tail of an id, a signature or an address."""
    return text if len(text) <= 2 * keep + 1 else f"{text[:keep]}…{text[-keep:]}"


def clock(at: datetime) -> str:
    """Time of day in UTC, to the millisecond."""
    return at.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3] + "Z"


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
            return f"{event.amount_in} {event.token_in} -> {event.token_out}, slippage {event.slippage_bps} bps"
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


def _routed(event: Routed, pair: Pair) -> str:
    offers = []
    for dex in ("Raydium", "Meteora"):
        quote = best_of(event, dex)
        offers.append(f"{dex} {pair.out_units(quote.out_amount) if quote and quote.out_amount else 'none'}")
    return f"{event.venue} chosen at {event.price}; {', '.join(offers)} {pair.token_out}"


def _confirmed(event: Confirmed, pair: Pair) -> str:
    simulated = " SIMULATED" if event.simulated else ""
    return (
        f"{event.amount_out} {pair.token_out} from {event.venue} at {event.executed_price} {event.price_unit}, "
        f"slippage {event.slippage_bps_realized} bps, tx {event.tx_hash}{simulated}"
    )


def _error(code: str, message: str) -> str:
    return f"{code}: {message}"
