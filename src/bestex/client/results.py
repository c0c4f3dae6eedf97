"""What the server answers, typed. Fields that this version does not know are ignored.

`in_amount`, `out_amount` and all `*_amount` are base units, `amount_in` and `amount_out` token units: decimal text.
Prices are token units received per token unit paid.
"""

from datetime import datetime
from typing import Any

import msgspec

from bestex.orders.events import Event
from bestex.orders.order import Finality, OrderError
from bestex.orders.status import Status


class _Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An object in camelCase JSON."""


class OrderView(_Answer, frozen=True, kw_only=True):
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
    amount_in: str
    in_amount: str
    amount_out: str | None = None
    out_amount: str | None = None
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


class AttemptView(_Answer, frozen=True, kw_only=True):
    """One signed transaction of an order."""

    number: int
    state: str
    signature: str
    tx_hash: str
    blockhash: str
    last_valid_block_height: int
    in_amount: str
    quoted_out_amount: str
    min_out_amount: str
    venue: str
    pool: str
    fee_lamports: int
    slot: int | None = None
    error: str | None = None
    created_at: datetime


class OrderDetail(OrderView, frozen=True, kw_only=True):
    """An order with everything that happened to it."""

    events: list[Event]
    attempts: list[AttemptView]


class OrderPage(_Answer, frozen=True, kw_only=True):
    """Orders, newest first, and the cursor of the next page."""

    orders: list[OrderView]
    next_cursor: str | None = None


class ActiveOrders(_Answer, frozen=True, kw_only=True):
    """Orders that can still change, oldest first."""

    orders: list[OrderView]


class TokenView(_Answer, frozen=True, kw_only=True):
    """A token that can be traded."""

    symbol: str
    mint: str
    decimals: int
    program: str


class TokenList(_Answer, frozen=True, kw_only=True):
    """All tokens that the engine knows."""

    tokens: list[TokenView]


class PoolSide(_Answer, frozen=True, kw_only=True):
    """One of a pool's two tokens."""

    mint: str
    symbol: str | None = None
    reserve_raw: str
    reserve: str | None = None


class PoolView(_Answer, frozen=True, kw_only=True):
    """A pool that is traded."""

    address: str
    venue: str
    dex: str
    label: str
    tokens: list[PoolSide]
    fee_pct: str
    """Percent."""
    context_slot: int


class RefusedPool(_Answer, frozen=True, kw_only=True):
    """A pool that is not traded, and why."""

    address: str
    reason: str


class PoolList(_Answer, frozen=True, kw_only=True):
    """The pools that the router chooses from."""

    pools: list[PoolView]
    refused: list[RefusedPool]
    simulated: bool


class Offer(_Answer, frozen=True, kw_only=True):
    """One pool's quote, or why it has none."""

    venue: str
    dex: str
    label: str
    pool: str
    out_amount: str | None = None
    amount_out: str | None = None
    price: str | None = None
    fee_amount: str | None = None
    fee_mint: str | None = None
    error: str | None = None


class Quote(_Answer, frozen=True, kw_only=True):
    """The best route for an amount, and the offers that it was chosen from. Jupiter's names where it has one."""

    input_mint: str
    in_amount: str
    output_mint: str
    out_amount: str
    other_amount_threshold: str
    """The least that an order would accept."""
    swap_mode: str
    slippage_bps: int
    price_impact_pct: str
    route_plan: list[dict[str, Any]]
    context_slot: int
    time_taken: float
    """Seconds."""
    token_in: str
    token_out: str
    amount_in: str
    amount_out: str
    price: str
    price_unit: str
    venue: str
    quotes: list[Offer]
    """Every pool's, best first, refusals last."""
    best_by_venue: dict[str, Offer]
    simulated: bool


class Limits(_Answer, frozen=True, kw_only=True):
    """What the queue is held to."""

    concurrency: int
    rate_per_minute: int | None = None
    max_attempts: int


class QueueStats(_Answer, frozen=True, kw_only=True):
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


class Health(_Answer, frozen=True, kw_only=True):
    """Whether the engine can work."""

    status: str
    simulated: bool
