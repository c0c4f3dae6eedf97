"""The attempt: one signed transaction for an order."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from bestex.types import BlockHeight, OrderId, Signature, Slot


class AttemptState(StrEnum):
    """`prepared -> sent -> landed | failed_on_chain | dead`."""

    PREPARED = "prepared"
    """Stored; after a crash it must be presumed sent."""
    SENT = "sent"
    LANDED = "landed"
    FAILED_ON_CHAIN = "failed_on_chain"
    DEAD = "dead"
    """Proven never to land."""


LIVE = frozenset({AttemptState.PREPARED, AttemptState.SENT})
"""The attempt may yet land. An order has at most one live attempt."""

ATTEMPT_TRANSITIONS: Mapping[AttemptState, frozenset[AttemptState]] = {
    AttemptState.PREPARED: frozenset(AttemptState) - {AttemptState.PREPARED},
    AttemptState.SENT: frozenset({AttemptState.LANDED, AttemptState.FAILED_ON_CHAIN, AttemptState.DEAD}),
    # A fork can undo a landing before it is finalized.
    AttemptState.LANDED: frozenset({AttemptState.SENT}),
    AttemptState.FAILED_ON_CHAIN: frozenset(),
    AttemptState.DEAD: frozenset(),
}


class Attempt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One signed transaction: its bytes are sent again and again, never changed."""

    order_id: OrderId
    number: int
    """From 1."""
    state: AttemptState
    signature: Signature
    transaction: bytes
    """Signed, in wire format."""
    blockhash: str
    last_valid_block_height: BlockHeight
    """The chain cannot include the transaction above this height."""
    in_amount: int
    """As quoted."""
    quoted_out_amount: int
    min_out_amount: int
    venue: str
    """Of the biggest leg."""
    pool: str
    fee_lamports: int
    """Greatest fee: base fee and priority fee."""
    created_at_ms: int
    slot: Slot | None = None
    """Where it landed."""
    error: str | None = None
    max_in_amount: int | None = None
    """The most that it can spend; None in older ones: `in_amount`."""
    swaps: list[str] = []
    """Venue and pool of each leg in order, `raydium_cpmm:<pool>`; empty in older ones, which have one."""
