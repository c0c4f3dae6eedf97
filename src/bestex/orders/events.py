"""The events of an order's life, as stored and as streamed.

Each event says what happened (`event`), what is true since (`status`), its place in the order's own sequence (`seq`,
from 1 without gaps), and what explains it. Base-unit amounts are strings: a u64 does not fit into a JavaScript number.
"""

from datetime import datetime
from typing import TypeAlias

import msgspec

from bestex.orders.order import Finality, OrderError
from bestex.orders.status import Status
from bestex.types import OrderId, Routing, SwapMode


class Header(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="event", omit_defaults=True, gc=False
):
    """What every event carries."""

    order_id: OrderId
    seq: int
    status: Status
    at: datetime


class PoolQuote(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """What one pool would have paid or asked; `error` instead of amounts where it cannot trade this."""

    venue: str
    dex: str
    pool: str
    in_amount: str | None = None
    out_amount: str | None = None
    price: str | None = None
    fee_amount: str | None = None
    error: str | None = None


class Accepted(Header, frozen=True, kw_only=True, gc=False, tag="accepted"):
    """The order is on disk. `status`: pending."""

    type: str
    user_id: str
    token_in: str
    token_out: str
    amount_in: str | None = None
    """exact_in; nor is there an `in_amount` where the output is asked for (exact_out)."""
    in_amount: str | None = None
    slippage_bps: int
    priority: int
    client_order_id: str | None = None
    swap_mode: str = SwapMode.EXACT_IN
    routing: str = Routing.BEST
    """Older orders were all routed through one pool."""
    amount_out: str | None = None
    out_amount: str | None = None
    max_amount_in: str | None = None
    max_in_amount: str | None = None


class RoutedLeg(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """One swap of the chosen route. Base units."""

    venue: str
    dex: str
    pool: str
    input_mint: str
    output_mint: str
    in_amount: str
    out_amount: str
    other_amount_threshold: str
    fee_amount: str
    fee_mint: str
    bps: int
    """Its share of its hop's input."""
    hop: int = 0


class Rejected(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """A route that was not taken, and why. Base units."""

    kind: str
    mints: list[str]
    pools: list[str]
    in_amount: str | None = None
    out_amount: str | None = None
    reason: str


class Routed(Header, frozen=True, gc=False, tag="routed"):
    """Quotes are compared and the route is chosen. `status`: routing."""

    attempt: int
    context_slot: int
    quotes: list[PoolQuote]
    """All pools of the pair, best first, the losers too."""
    venue: str
    pool: str
    in_amount: str
    out_amount: str
    other_amount_threshold: str
    price: str
    price_impact_pct: str
    gain_over_next_bps: str | None = None
    """How much more the chosen route pays than the best pool of the other DEX than the best pool's."""
    routing: str | None = None
    """What the order asked for; `kind` is what was taken: `single`, `split` or `path`."""
    kind: str | None = None
    legs: list[RoutedLeg] = []
    """In the order in which they run; `venue` and `pool` are those of the biggest."""
    bound: str | None = None
    """No route of `bound_class` pays more (exact_in), or asks less (exact_out)."""
    bound_class: str | None = None
    optimality_gap: str | None = None
    gain_over_single_bps: str | None = None
    network_cost: str | None = None
    """Of all legs, in base units of the output (exact_in) or the input (exact_out)."""
    alternatives: list[Rejected] = []


class Built(Header, frozen=True, gc=False, tag="built"):
    """The transaction is composed; it is not signed yet. `status`: building."""

    attempt: int
    size_bytes: int
    account_locks: int
    instructions: list[str]
    blockhash: str
    last_valid_block_height: int
    compute_unit_limit: int
    compute_unit_price_micro_lamports: int
    max_fee_lamports: int


class Submitted(Header, frozen=True, gc=False, tag="submitted"):
    """The signed attempt is on disk and is being sent. `status`: submitted."""

    attempt: int
    tx_hash: str
    compute_unit_limit: int
    fee_lamports: int
    min_out_amount: str
    max_in_amount: str | None = None
    """exact_out."""
    explanation: str | None = None


class Confirmed(Header, frozen=True, kw_only=True, gc=False, tag="confirmed", omit_defaults=False):
    """The swap has landed. `status`: confirmed."""

    attempt: int
    tx_hash: str
    slot: int
    venue: str
    pool: str
    amount_in: str
    amount_out: str
    in_amount: str
    out_amount: str
    executed_price: str
    price_unit: str
    slippage_bps_realized: str
    """Received against quoted (exact_in), or quoted against paid (exact_out), in basis points; negative: worse."""
    quote_difference: str = "0"
    """The same in base units; 0 whenever the pools did not move between the last quote and the fill."""
    legs: list[str] = []
    """Venues and pools of all swaps, `raydium_cpmm:<pool>`, in the order in which they ran."""
    fee_lamports: int
    finality: Finality = Finality.CONFIRMED
    simulated: bool = False


class Finalized(Header, frozen=True, gc=False, tag="finalized", omit_defaults=False):
    """The fill can no longer be undone. `status`: confirmed."""

    tx_hash: str
    slot: int
    finality: Finality = Finality.FINALIZED


class RolledBack(Header, frozen=True, gc=False, tag="rolled_back"):
    """A fork dropped the block that held the swap; the same transaction is sent again. `status`: submitted."""

    tx_hash: str
    explanation: str


class Resumed(Header, frozen=True, gc=False, tag="resumed"):
    """Taken over from a worker that stopped before anything was signed. `status`: pending."""

    explanation: str


class Retrying(Header, frozen=True, gc=False, tag="retrying"):
    """A try failed; another follows at `retry_at`. `status`: pending."""

    attempt: int
    error: OrderError
    retry_at: datetime
    retries_left: int


class Failed(Header, frozen=True, gc=False, tag="failed"):
    """No further try. `status`: failed."""

    error: OrderError
    tx_hash: str | None = None


class CancelRequested(Header, frozen=True, gc=False, tag="cancel_requested"):
    """A cancel came while the transaction may land: it takes effect only if the attempt is proven dead."""

    explanation: str


class Canceled(Header, frozen=True, gc=False, tag="canceled"):
    """The order ends without a fill. `status`: canceled."""

    explanation: str


class Expired(Header, frozen=True, gc=False, tag="expired"):
    """The order's time is over. `status`: expired."""

    explanation: str


Event: TypeAlias = (
    Accepted
    | Routed
    | Built
    | Submitted
    | Confirmed
    | Finalized
    | RolledBack
    | Resumed
    | Retrying
    | Failed
    | CancelRequested
    | Canceled
    | Expired
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode_event(event: Event) -> bytes:
    """The event as JSON: what is stored, and what goes over the WebSocket."""
    return _encoder.encode(event)


def decode_event(payload: bytes) -> Event:
    """The inverse of `encode_event`. Raises msgspec.ValidationError for anything else."""
    return _decoder.decode(payload)
