"""How the paper network behaves: how fast it is and what it loses."""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

LatencyRange: TypeAlias = tuple[float, float]
"""Least and greatest seconds from a request to its answer; drawn uniformly."""

_NONE: LatencyRange = (0.0, 0.0)


class NetworkProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A network's timing and faults. Probabilities lie between 0 and 1."""

    slot_s: float
    """Time between two slots."""
    commits_within_slot: bool = False
    """Transactions become durable and visible at once, many times a slot, instead of at the slot's end."""
    confirmed_after_slots: int
    finalized_after_slots: int
    skip_probability: float = 0.0
    """That a slot passes without a block."""
    drop_probability: float = 0.0
    """That a sent transaction is lost on its way to the leader."""
    inclusion_probability: float = 1.0
    """That a leader takes a waiting transaction into its block."""
    fork_probability: float = 0.0
    """Per slot, that the latest blocks which are not finalized are dropped."""
    fork_depth_blocks: int = 1
    """Most blocks that such a fork drops."""
    max_transactions: int = 1_024
    """Per block; what does not fit waits. Bounds how long one block keeps the event loop busy."""
    blockhash_max_age_blocks: int = 150
    status_cache_slots: int = 300
    """How long a status is known without a search of the history."""
    latest_blockhash_s: LatencyRange = _NONE
    height_s: LatencyRange = _NONE
    accounts_s: LatencyRange = _NONE
    priority_fees_s: LatencyRange = _NONE
    simulate_s: LatencyRange = _NONE
    send_s: LatencyRange = _NONE
    statuses_s: LatencyRange = _NONE
    transaction_s: LatencyRange = _NONE
    notification_s: LatencyRange = _NONE
    """From a block to the subscriber who waits for a transaction in it."""

    @property
    def delays(self) -> bool:
        """Whether any answer takes time."""
        return any(isinstance(value, tuple) and value != _NONE for value in msgspec.structs.astuple(self))


INSTANT = NetworkProfile(
    slot_s=0.4,
    commits_within_slot=True,
    confirmed_after_slots=0,
    finalized_after_slots=0,
    max_transactions=64,
)
"""No latency, no loss, final at once: the engine's own speed."""

FAST = NetworkProfile(
    slot_s=0.2,
    confirmed_after_slots=1,
    finalized_after_slots=10,
    drop_probability=0.05,
    inclusion_probability=0.9,
    latest_blockhash_s=(0.1, 0.2),
    height_s=(0.05, 0.15),
    accounts_s=(0.2, 0.4),
    priority_fees_s=(0.2, 0.4),
    simulate_s=(0.2, 0.4),
    send_s=(0.1, 0.2),
    statuses_s=(0.05, 0.15),
    transaction_s=(0.1, 0.2),
    notification_s=(0.02, 0.08),
)
"""An order takes about two seconds, and two more for each time that its transaction is dropped."""

REALISTIC = NetworkProfile(
    slot_s=0.4,
    confirmed_after_slots=2,
    finalized_after_slots=32,
    skip_probability=0.05,
    drop_probability=0.05,
    inclusion_probability=0.85,
    latest_blockhash_s=(0.4, 0.9),
    height_s=(0.2, 0.5),
    accounts_s=(0.8, 1.2),
    priority_fees_s=(1.1, 1.6),
    simulate_s=(1.0, 1.8),
    send_s=(0.2, 0.5),
    statuses_s=(0.2, 0.5),
    transaction_s=(0.3, 0.6),
    notification_s=(0.05, 0.2),
)
"""Statuses last about as long as on a busy mainnet behind a public RPC node."""

PROFILES: Mapping[str, NetworkProfile] = {"instant": INSTANT, "fast": FAST, "realistic": REALISTIC}
"""By the name of the setting `network`."""
