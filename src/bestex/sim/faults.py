"""What can go wrong in the world, and how much of it a seed gets."""

import random
from collections.abc import Collection, Mapping
from enum import StrEnum


class Fault(StrEnum):
    """One kind of trouble. The weight is a probability for each occasion unless said otherwise."""

    LOST_REQUEST = "lost_request"
    """A call to a node never arrives; the caller is told after a while that nobody answers."""
    LOST_ANSWER = "lost_answer"
    """The node did as asked, and its answer is lost."""
    LATE_ANSWER = "late_answer"
    """The answer takes seconds."""
    LAGGING_NODE = "lagging_node"
    """The node that answers is many slots behind the chain."""
    RATE_LIMITED = "rate_limited"
    RPC_ERROR = "rpc_error"
    SKIPPED_SLOT = "skipped_slot"
    """A leader makes no block."""
    DROPPED_TRANSACTION = "dropped_transaction"
    """On its way to the leader."""
    FORK = "fork"
    """Each slot: the newest blocks that are not finalized are undone."""
    MOVING_POOLS = "moving_pools"
    """Traders move the pools between quote and landing. The weight decides once for the seed."""
    KILL = "kill"
    """The engine's process is killed, at a cut point or at any moment. The weight is how often in a run, on average."""
    POWER_CUT = "power_cut"
    """The machine loses power: what was not synced is lost, in whole or in part. So often in a run."""
    DISK_FULL = "disk_full"
    """For a while the disk takes nothing more. So often in a run."""
    FROZEN_WORKER = "frozen_worker"
    """A worker stands still past its leases, and goes on. So often in a run."""
    CLOCK_BACK = "clock_back"
    """The wall clock steps back by up to a minute. So often in a run."""
    LOST_BUS = "lost_bus"
    """An event or a wake-up is lost on the bus."""
    CLIENT_RETRY = "client_retry"
    """A client posts again under the same key, though it had an answer."""
    CLIENT_DISCONNECT = "client_disconnect"
    """A client goes away and comes back. For each event that it gets."""
    CLIENT_CANCEL = "client_cancel"
    """A client takes its order back at some moment. For each order."""


_RANGES: Mapping[Fault, tuple[float, float]] = {
    Fault.LOST_REQUEST: (0.01, 0.25),
    Fault.LOST_ANSWER: (0.01, 0.25),
    Fault.LATE_ANSWER: (0.01, 0.3),
    Fault.LAGGING_NODE: (0.05, 0.5),
    Fault.RATE_LIMITED: (0.01, 0.2),
    Fault.RPC_ERROR: (0.01, 0.2),
    Fault.SKIPPED_SLOT: (0.05, 0.6),
    Fault.DROPPED_TRANSACTION: (0.05, 0.7),
    Fault.FORK: (0.01, 0.2),
    Fault.MOVING_POOLS: (1.0, 1.0),
    Fault.KILL: (0.5, 4.0),
    Fault.POWER_CUT: (0.5, 3.0),
    Fault.DISK_FULL: (0.2, 1.0),
    Fault.FROZEN_WORKER: (0.5, 3.0),
    Fault.CLOCK_BACK: (0.2, 2.0),
    Fault.LOST_BUS: (0.05, 1.0),
    Fault.CLIENT_RETRY: (0.1, 0.9),
    Fault.CLIENT_DISCONNECT: (0.05, 0.5),
    Fault.CLIENT_CANCEL: (0.1, 0.8),
}
_CHANCE_OF_EACH = 0.45
"""A seed has each fault or not, so that some have few and can show what many would hide."""


class Weather:
    """The faults of one run. When it is healed, none happens any more."""

    def __init__(self, weights: Mapping[Fault, float]) -> None:
        self.weights = {fault: weights[fault] for fault in Fault if weights.get(fault, 0.0) > 0.0}
        self.healed = False

    @classmethod
    def draw(cls, draw: random.Random, allowed: Collection[Fault] | None = None, *, intense: bool = False) -> "Weather":
        """A subset of the faults with weights of their own; `allowed` takes all others out and draws the same.

        `intense`: every allowed fault is there, and at least half as strong as it can be.
        """
        weights = {}
        for fault in Fault:
            least, most = _RANGES[fault]
            chosen = draw.random() < _CHANCE_OF_EACH
            weight = draw.uniform((least + most) / 2 if intense else least, most)
            if (chosen or intense) and (allowed is None or fault in allowed):
                weights[fault] = weight
        return cls(weights)

    def weight(self, fault: Fault) -> float:
        """Zero where the fault is not of this run, or no longer."""
        return 0.0 if self.healed else self.weights.get(fault, 0.0)

    def happens(self, fault: Fault, draw: random.Random) -> bool:
        """Whether it happens on this occasion. Nothing is drawn where it cannot."""
        weight = self.weight(fault)
        return weight > 0.0 and draw.random() < weight
