"""The status of an order: one table, and nothing else changes it."""

from collections.abc import Mapping
from enum import StrEnum

from bestex.errors import IllegalTransition


class Status(StrEnum):
    """Where an order is in its life."""

    PENDING = "pending"
    ROUTING = "routing"
    BUILDING = "building"
    SUBMITTED = "submitted"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"


TRANSITIONS: Mapping[Status | None, frozenset[Status]] = {
    None: frozenset({Status.PENDING}),
    Status.PENDING: frozenset({Status.ROUTING, Status.CANCELED, Status.EXPIRED, Status.FAILED}),
    # back to pending: retry later
    Status.ROUTING: frozenset({Status.BUILDING, Status.PENDING, Status.FAILED, Status.CANCELED, Status.EXPIRED}),
    Status.BUILDING: frozenset({Status.SUBMITTED, Status.PENDING, Status.FAILED, Status.CANCELED}),
    # back to pending, or canceled as asked: only after proof that the attempt is dead
    Status.SUBMITTED: frozenset({Status.CONFIRMED, Status.PENDING, Status.FAILED, Status.CANCELED}),
    # back to submitted: a fork dropped the transaction before it was finalized
    Status.CONFIRMED: frozenset({Status.SUBMITTED}),
    Status.FAILED: frozenset(),
    Status.CANCELED: frozenset(),
    Status.EXPIRED: frozenset(),
}

TERMINAL = frozenset({Status.FAILED, Status.CANCELED, Status.EXPIRED})
"""No way out. A confirmed order is terminal too once its transaction is finalized."""

CLAIMABLE = frozenset({Status.PENDING, Status.ROUTING, Status.BUILDING, Status.SUBMITTED})
"""A worker has something to do for the order, other than to watch it become final."""


def check_transition(before: Status | None, after: Status) -> None:
    """Raise IllegalTransition unless the table allows `before -> after`."""
    if after not in TRANSITIONS[before]:
        origin = "a new order" if before is None else f"an order that is {before}"
        raise IllegalTransition(f"{origin} cannot become {after}", status=before, wanted=after)
