"""The order: what the client asked for, and where it stands now."""

import hashlib
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from bestex.orders.status import TERMINAL, Status
from bestex.types import OrderId, Routing, Signature, Slot, SwapMode


class OrderType(StrEnum):
    """How the order decides when and at what price to trade."""

    MARKET = "market"


class Finality(StrEnum):
    """How sure a fill is. `confirmed` may in rare cases be undone by a fork, `finalized` cannot."""

    CONFIRMED = "confirmed"
    FINALIZED = "finalized"


class Terms(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the client asked for; never changes. Amounts are base units."""

    type: OrderType
    user_id: str
    token_in: str
    """Symbol; `in_mint` is what counts."""
    token_out: str
    in_mint: str
    """Mint address in base58."""
    out_mint: str
    in_decimals: int
    out_decimals: int
    in_amount: int
    """What is paid (exact_in); 0 where the output is asked for (exact_out)."""
    slippage_bps: int
    priority: int = 0
    """0 to 9; greater is served first."""
    max_retries: int = 2
    """Further tries after the first one."""
    client_order_id: str | None = None
    swap_mode: SwapMode = SwapMode.EXACT_IN
    routing: Routing = Routing.AUTO
    out_amount: int | None = None
    """What is to be received, exactly (exact_out)."""
    max_in_amount: int | None = None
    """The most to pay (exact_out), whatever the slippage; None: the quote and the slippage decide."""


class Fill(msgspec.Struct, frozen=True, gc=False):
    """What the landed transaction moved, read from its own token balances. Base units."""

    signature: Signature
    slot: Slot
    in_amount: int
    out_amount: int
    fee_lamports: int
    venue: str


class OrderError(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Why a try failed, and whether money can have moved."""

    code: str
    message: str
    retryable: bool
    money_moved: str
    """`no`, `possible` or `yes`."""


class Order(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An order's present state: its terms, and the sum of its events."""

    id: OrderId
    terms: Terms
    status: Status
    seq: int
    """Sequence number of the latest event; the first is 1."""
    created_at_ms: int
    updated_at_ms: int
    due_at_ms: int
    """Not to be worked on before this time."""
    retries: int = 0
    attempts: int = 0
    """Signed transactions so far."""
    finality: Finality | None = None
    fill: Fill | None = None
    error: OrderError | None = None
    cancel_requested: bool = False
    lease_owner: str | None = None
    lease_until_ms: int = 0
    lease_epoch: int = 0
    """Grows with every claim. A write that carries an older epoch is refused."""

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL or self.finality is Finality.FINALIZED


class IdempotencyKeys(msgspec.Struct, frozen=True, gc=False):
    """How a repeated request is recognised. Keys belong to an account."""

    account: str
    request_hash: str
    client_order_id: str | None = None
    header_key: str | None = None
    """Value of the `Idempotency-Key` header."""


_PLAIN_END = b',"swap_mode":"exact_in","routing":"auto","out_amount":null,"max_in_amount":null}'


def request_hash(terms: Terms) -> str:
    """SHA-256 of the terms: two requests with the same hash ask for the same order."""
    encoded = msgspec.json.encode(terms, order="deterministic")
    if encoded.endswith(_PLAIN_END):
        # As before there were these terms: a request may be repeated after an upgrade.
        encoded = encoded.removesuffix(_PLAIN_END) + b"}"
    return hashlib.sha256(encoded).hexdigest()


def new_order_id(now_ms: int, entropy: bytes) -> OrderId:
    """A UUIDv7 (RFC 9562, section 5.7) from the time and 10 random bytes."""
    value = (now_ms & (2**48 - 1)) << 80 | int.from_bytes(entropy[:10])
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return OrderId(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")


def utc(at_ms: int) -> datetime:
    """The UTC time of a number of milliseconds since 1970."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)
