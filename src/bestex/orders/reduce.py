"""An order's state is the sum of its events: this is the sum."""

from typing import Any

import msgspec

from bestex.errors import IllegalTransition
from bestex.orders.events import (
    CancelRequested,
    Confirmed,
    Event,
    Failed,
    Finalized,
    Retrying,
    RolledBack,
    Submitted,
)
from bestex.orders.order import Fill, Finality, Order
from bestex.orders.status import Status, check_transition
from bestex.types import Signature


def advance(order: Order, event: Event) -> Order:
    """The order after the event. Raises IllegalTransition when the table or the sequence forbids it."""
    if event.seq != order.seq + 1:
        raise IllegalTransition(f"event {event.seq} cannot follow event {order.seq}", order_id=order.id)
    if order.is_terminal:
        raise IllegalTransition(f"an order that is {order.status} cannot change", order_id=order.id)
    if event.status is not order.status:
        check_transition(order.status, event.status)
    elif not _keeps_status(order, event):
        raise IllegalTransition(f"an order that is {order.status} cannot become {event.status}", order_id=order.id)
    changes: dict[str, Any] = {
        "status": event.status,
        "seq": event.seq,
        "updated_at_ms": round(event.at.timestamp() * 1000),
    }
    _effects(order, event, changes)
    return msgspec.structs.replace(order, **changes)


def _keeps_status(order: Order, event: Event) -> bool:
    """Whether the event may come without a change of status: it is news of the status that the order is in."""
    # A try can fail before any pool was chosen: the order then has never left `pending`.
    return isinstance(event, Finalized | CancelRequested) or (
        isinstance(event, Retrying) and order.status is Status.PENDING
    )


def _effects(order: Order, event: Event, changes: dict[str, Any]) -> None:
    match event:
        case Submitted():
            changes.update(attempts=event.attempt)
        case Confirmed():
            changes.update(fill=_fill(event), finality=Finality.CONFIRMED, error=None)
        case Finalized():
            if order.status is not Status.CONFIRMED:
                raise IllegalTransition(f"an order that is {order.status} cannot be finalized", order_id=order.id)
            changes.update(finality=Finality.FINALIZED)
        case RolledBack():
            changes.update(fill=None, finality=None)
        case Retrying():
            changes.update(
                retries=order.retries + 1, error=event.error, due_at_ms=round(event.retry_at.timestamp() * 1000)
            )
        case Failed():
            changes.update(error=event.error)
        case CancelRequested():
            changes.update(cancel_requested=True)
        case _:
            pass


def _fill(event: Confirmed) -> Fill:
    return Fill(
        signature=Signature(event.tx_hash),
        slot=event.slot,
        in_amount=int(event.in_amount),
        out_amount=int(event.out_amount),
        fee_lamports=event.fee_lamports,
        venue=event.venue,
    )
