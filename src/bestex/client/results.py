"""What the server answers, typed. Fields that this version does not know are ignored.

`in_amount`, `out_amount` and all `*_amount` are base units, `amount_in` and `amount_out` token units: decimal text.
Prices are token units received per token unit paid.
"""

from datetime import datetime

import msgspec

from bestex.orders.events import Event
from bestex.orders.order import Finality, OrderError
from bestex.orders.status import Status


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An object in camelCase JSON."""


class OrderView(Answer, frozen=True, kw_only=True):
    """An order as it stands."""

    id: str
    order_id: str
    type: str
    status: Status
    finality: Finality | None = None
    user_id: str
    client_order_id: str | None = None
    token_in: str
    token_out: str
    input_mint: str
    output_mint: str
    swap_mode: str = "ExactIn"
    routing: str = "best"
    amount_in: str | None = None
    """`ExactOut`: unknown before the fill."""
    in_amount: str | None = None
    amount_out: str | None = None
    """`ExactIn`: unknown before the fill."""
    out_amount: str | None = None
    max_amount_in: str | None = None
    max_in_amount: str | None = None
    executed_price: str | None = None
    price_unit: str
    tx_hash: str | None = None
    venue: str | None = None
    slot: int | None = None
    fee_lamports: int | None = None
    slippage_bps: int
    priority: int
    max_retries: int
    retries: int
    attempt_count: int
    retry_at: datetime | None = None
    cancel_requested: bool
    error: OrderError | None = None
    simulated: bool
    created_at: datetime
    updated_at: datetime
    links: dict[str, str] = {}


class AttemptView(Answer, frozen=True, kw_only=True):
    """One signed transaction of an order."""

    number: int
    state: str
    signature: str
    tx_hash: str
    blockhash: str
    last_valid_block_height: int
    in_amount: str
    """As quoted."""
    max_in_amount: str | None = None
    quoted_out_amount: str
    min_out_amount: str
    venue: str
    """Of the biggest leg, as `pool`."""
    pool: str
    swaps: list[str] = []
    """Venue and pool of each leg, in order: `raydium_cpmm:<pool>`."""
    fee_lamports: int
    slot: int | None = None
    error: str | None = None
    created_at: datetime


class OrderDetail(OrderView, frozen=True, kw_only=True):
    """An order with everything that happened to it."""

    events: list[Event]
    attempts: list[AttemptView]


class OrderPage(Answer, frozen=True, kw_only=True):
    """Orders, newest first, and the cursor of the next page."""

    orders: list[OrderView]
    next_cursor: str | None = None


class ActiveOrders(Answer, frozen=True, kw_only=True):
    """Orders that can still change, oldest first."""

    orders: list[OrderView]


class TokenView(Answer, frozen=True, kw_only=True):
    """A token that can be traded."""

    symbol: str
    mint: str
    decimals: int
    program: str


class TokenList(Answer, frozen=True, kw_only=True):
    """All tokens that the engine knows."""

    tokens: list[TokenView]


class PoolSide(Answer, frozen=True, kw_only=True):
    """One of a pool's two tokens."""

    mint: str
    symbol: str | None = None
    reserve_raw: str
    reserve: str | None = None


class PoolView(Answer, frozen=True, kw_only=True):
    """A pool that is traded."""

    address: str
    venue: str
    dex: str
    label: str
    tokens: list[PoolSide]
    fee_pct: str
    """Percent."""
    context_slot: int


class RefusedPool(Answer, frozen=True, kw_only=True):
    """A pool that is not traded, and why."""

    address: str
    reason: str


class PoolList(Answer, frozen=True, kw_only=True):
    """The pools that the router chooses from."""

    pools: list[PoolView]
    refused: list[RefusedPool]
    simulated: bool


class Limits(Answer, frozen=True, kw_only=True):
    """What the queue is held to."""

    concurrency: int
    rate_per_minute: int | None = None
    max_attempts: int


class QueueStats(Answer, frozen=True, kw_only=True):
    """The queue: how much waits, how much is in work, how much has ended how."""

    waiting: int
    delayed: int
    in_work: int
    oldest_waiting_at: datetime | None = None
    started_in_last_minute: int
    by_status: dict[str, int]
    pending: int
    routing: int
    building: int
    submitted: int
    confirmed: int
    failed: int
    canceled: int
    expired: int
    limits: Limits
    simulated: bool


class Health(Answer, frozen=True, kw_only=True):
    """Whether the engine can work."""

    status: str
    simulated: bool
