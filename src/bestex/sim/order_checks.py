"""Checks of what the database says of each order: its events, its state, its retries."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec

from bestex.errors import IllegalTransition
from bestex.orders import events as made
from bestex.orders.events import Event
from bestex.orders.order import Order
from bestex.orders.reduce import advance
from bestex.orders.status import TERMINAL, TRANSITIONS, Status
from bestex.sim.evidence import Evidence, StoredEvent
from bestex.types import OrderId

_BEFORE_THE_END = frozenset({Status.PENDING, Status.ROUTING, Status.BUILDING, Status.SUBMITTED})
_STEPS: Mapping[type[Event], tuple[frozenset[Status | None], Status | None]] = {
    made.Accepted: (frozenset({None}), Status.PENDING),
    made.Routed: (frozenset({Status.PENDING}), Status.ROUTING),
    made.Built: (frozenset({Status.ROUTING}), Status.BUILDING),
    made.Submitted: (frozenset({Status.BUILDING}), Status.SUBMITTED),
    made.Confirmed: (frozenset({Status.SUBMITTED}), Status.CONFIRMED),
    made.Finalized: (frozenset({Status.CONFIRMED}), Status.CONFIRMED),
    made.RolledBack: (frozenset({Status.CONFIRMED}), Status.SUBMITTED),
    made.Resumed: (frozenset({Status.ROUTING, Status.BUILDING}), Status.PENDING),
    made.Retrying: (_BEFORE_THE_END, Status.PENDING),
    made.CancelRequested: (frozenset({Status.SUBMITTED}), Status.SUBMITTED),
    made.Failed: (_BEFORE_THE_END, Status.FAILED),
    made.Canceled: (_BEFORE_THE_END, Status.CANCELED),
    made.Expired: (frozenset({Status.PENDING, Status.ROUTING}), Status.EXPIRED),
}
"""Each event: the statuses that it may come after, and the one that it leads to."""

_RETRYABLE = frozenset({
    "NOT_SENT", "ATTEMPT_DEAD", "NO_ROUTE", "STALE_MARKET", "UNAVAILABLE", "CLUSTER_UNAVAILABLE", "RATE_LIMITED",
    "TRANSACTION_FAILED", "SLIPPAGE_EXCEEDED", "SWAP_REFUSED",
})  # fmt: skip
"""Codes of errors that another try can cure."""
_SUMMED = ("status", "seq", "updated_at_ms", "retries", "attempts", "finality", "fill", "error", "cancel_requested")
_BEFORE_ANY_EVENT = {
    "status": Status.PENDING, "seq": 1, "retries": 0, "attempts": 0, "finality": None, "fill": None, "error": None,
    "cancel_requested": False,
}  # fmt: skip


def legal_edges(evidence: Evidence) -> Iterator[str]:
    """Every event leads from a status to a status as the table in orders/status.py allows, and none follows the end."""
    for order_id, events in evidence.stored.events.items():
        before: Status | None = None
        ended = False
        for event in (stored.event for stored in events):
            after, kind = event.status, type(event).__name__
            froms, to = _STEPS[type(event)]
            if ended:
                yield f"order {order_id}: event {event.seq}, {kind}, follows the end"
            elif before not in froms or after is not to or (after is not before and after not in TRANSITIONS[before]):
                yield f"order {order_id}: event {event.seq}, {kind}, leads from {before} to {after}"
            before, ended = after, after in TERMINAL or isinstance(event, made.Finalized)


def events_are_gap_free(evidence: Evidence) -> Iterator[str]:
    """Sequence numbers are 1..n, and no event is older than the one before it.

    Times are wall-clock times: an event may lie before the one before it by as much as the clock was set back in all.
    """
    for order_id, events in evidence.stored.events.items():
        seqs = [stored.seq for stored in events]
        if not seqs or seqs != list(range(1, len(seqs) + 1)):
            yield f"order {order_id} has events {seqs}"
        for stored in events:
            if (stored.event.seq, stored.event.order_id) != (stored.seq, order_id):
                yield f"order {order_id}: event {stored.seq} calls itself {stored.event.seq} of {stored.event.order_id}"
        for earlier, later in pairwise(events):
            back_ms = _at_ms(earlier.event) - _at_ms(later.event)
            if back_ms > evidence.seen.set_back_ms:
                yield f"order {order_id}: event {later.seq} is {back_ms} ms older than the one before it"


def orders_are_the_sum_of_their_events(evidence: Evidence) -> Iterator[str]:
    """An order's stored state is what its events come to, one by one; the columns that are searched say the same."""
    for order_id, order in evidence.stored.orders.items():
        summed = _sum(order, evidence.stored.events[order_id])
        if summed is None:  # the events themselves are wrong, and other checks say so
            continue
        for name in _SUMMED:
            found, expected = getattr(order, name), getattr(summed, name)
            if found != expected:
                yield f"order {order_id}: its {name} is {found}, its events come to {expected}"
        row = evidence.stored.rows[order_id]
        if row != (order.status, order.seq, order.is_terminal):
            yield f"order {order_id}: its row says {row}, the order {order.status}, {order.seq}, {order.is_terminal}"


def accepted_cancels_hold(evidence: Evidence) -> Iterator[str]:
    """A cancel that was accepted is among the events, and after it nothing new is tried."""
    for posted in evidence.seen.record.posted:
        for order_id in sorted(set(posted.order_ids)) if posted.cancel_accepted else ():
            events = evidence.stored.events.get(OrderId(order_id), [])
            if not any(isinstance(stored.event, made.Canceled | made.CancelRequested) for stored in events):
                yield f"order {order_id}: its cancel was accepted, and no event says so"
    for order_id, events in evidence.stored.events.items():
        asked = False
        for event in (stored.event for stored in events):
            if asked and isinstance(event, made.Retrying | made.Routed | made.Built | made.Submitted):
                yield f"order {order_id}: event {event.seq}, {type(event).__name__}, comes after a cancel"
            asked = asked or isinstance(event, made.CancelRequested)


def retries_are_few_and_spaced(evidence: Evidence) -> Iterator[str]:
    """At most as many tries as allowed, each after a longer wait than the one before.

    A wait is base * 2**retries, capped, and up to a quarter more; one millisecond for rounding. There is none where
    only a path could not be taken. By the wall clock no try begins before its time, but for as much as the clock was
    set back in all.
    """
    for order_id, order in evidence.stored.orders.items():
        allowed = min(evidence.seen.limits.max_attempts, order.terms.max_retries + 1)
        events = [stored.event for stored in evidence.stored.events[order_id]]
        retries = [event for event in events if isinstance(event, made.Retrying)]
        if len(retries) >= allowed or order.attempts > allowed:
            yield f"order {order_id}: {len(retries)} retries and {order.attempts} attempts; {allowed} tries are allowed"
        for number, event in enumerate(retries):
            low_ms = min(evidence.seen.limits.retry_base_s * 2**number, evidence.seen.limits.retry_max_s) * 1000
            wait_ms = round(event.retry_at.timestamp() * 1000) - _at_ms(event)
            at_once = wait_ms == 0 and _could_not_take_a_path(events[: event.seq])
            if not at_once and not low_ms - 1 <= wait_ms <= low_ms * 1.25 + 1:
                yield f"order {order_id}: wait {number + 1} is {wait_ms} ms, not {low_ms} to {low_ms * 1.25}"
            tries = (next_ for next_ in events[event.seq :] if isinstance(next_, made.Routed))
            begun_ms = min((_at_ms(next_) for next_ in tries), default=None)
            due_ms = round(event.retry_at.timestamp() * 1000) - evidence.seen.set_back_ms
            if begun_ms is not None and begun_ms < due_ms:
                yield f"order {order_id}: retry {number + 1} began {due_ms - begun_ms} ms before its time"


def _could_not_take_a_path(events: Sequence[Event]) -> bool:
    """Whether the last of the events says that pools had moved when a path was simulated."""
    failure = events[-1]
    routed = next((event for event in reversed(events) if isinstance(event, made.Routed | made.Submitted)), None)
    return (
        isinstance(routed, made.Routed)
        and routed.kind == "path"
        and isinstance(failure, made.Retrying)
        and failure.error.code == "SLIPPAGE_EXCEEDED"
    )


def fatal_errors_end_the_order(evidence: Evidence) -> Iterator[str]:
    """No try follows an error that no try can cure, and an order that failed by another has used all its tries."""
    for order_id, order in evidence.stored.orders.items():
        retries = 0
        for event in (stored.event for stored in evidence.stored.events[order_id]):
            if isinstance(event, made.Retrying):
                retries += 1
                if event.error.code not in _RETRYABLE or not event.error.retryable:
                    yield f"order {order_id}: retried after {event.error.code}, which no retry can cure"
            elif isinstance(event, made.Failed) and event.error.retryable and retries < order.terms.max_retries:
                yield f"order {order_id} failed with {event.error.code} after {retries} retries, and more were allowed"


def _at_ms(event: Event) -> int:
    return round(event.at.timestamp() * 1000)


def _sum(order: Order, events: Sequence[StoredEvent]) -> Order | None:
    """The order as its events make it; None where they do not follow each other."""
    if not events:
        return None
    first = events[0].event
    summed = msgspec.structs.replace(order, **_BEFORE_ANY_EVENT, updated_at_ms=_at_ms(first))
    try:
        for stored in events[1:]:
            summed = advance(summed, stored.event)
    except IllegalTransition:
        return None
    return summed
