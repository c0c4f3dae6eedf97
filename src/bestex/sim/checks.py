"""What must be true after every run, whatever befell it. docs/guarantees.md says which promise each check stands for.

A check reads the evidence and yields a sentence for each violation. Nothing here asks the engine for its opinion.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from bestex.orders.events import Finalized
from bestex.orders.order import Finality
from bestex.orders.status import Status
from bestex.sim.chain_checks import (
    at_most_one_fill_per_order,
    attempts_are_chain_truth,
    attempts_are_stored_before_sent,
    balances_are_conserved,
    fills_keep_their_terms,
    stored_fill_is_chain_truth,
)
from bestex.sim.evidence import Evidence
from bestex.sim.order_checks import (
    accepted_cancels_hold,
    events_are_gap_free,
    fatal_errors_end_the_order,
    legal_edges,
    orders_are_the_sum_of_their_events,
    retries_are_few_and_spaced,
)
from bestex.types import OrderId

Check: TypeAlias = Callable[[Evidence], Iterator[str]]

_WINDOW_MS = 60_000


def accepted_orders_present(evidence: Evidence) -> Iterator[str]:
    """What was acknowledged is stored, under the client's own key; no key stands for two orders."""
    stored = evidence.stored
    by_key: dict[tuple[str, str], OrderId] = {}
    for order in stored.orders.values():
        if order.terms.client_order_id is not None:
            key = (order.terms.user_id, order.terms.client_order_id)
            if by_key.setdefault(key, order.id) != order.id:
                yield f"orders {by_key[key]} and {order.id} were both made for key {key[1]} of {key[0]}"
    for posted in evidence.seen.record.posted:
        acknowledged = sorted(set(posted.order_ids))
        if len(acknowledged) > 1:
            yield f"key {posted.client_order_id} was acknowledged as {len(acknowledged)} orders: {acknowledged}"
        for order_id in acknowledged:
            if order_id not in stored.orders:
                yield f"order {order_id} was acknowledged, and is not in the database"
            elif stored.keys.get((posted.user_id, posted.key_kind, posted.client_order_id)) != order_id:
                yield f"order {order_id} is not stored under its client's key {posted.client_order_id}"


def unsound_requests_are_refused(evidence: Evidence) -> Iterator[str]:
    """A request that breaks a rule makes no order."""
    for posted in evidence.seen.record.posted:
        if not posted.sound and posted.accepted:
            yield f"order {posted.order_ids[0]} was accepted, and its request breaks a rule"


def answers_are_true(evidence: Evidence) -> Iterator[str]:
    """A look-up shows a status that the order has had, and its first events; no answer is one that nothing excuses.

    Order and events may be read at different moments, so that the status need not be the last event's.
    """
    yield from evidence.seen.record.unexpected
    for polled in evidence.seen.record.polled:
        events = evidence.stored.events.get(OrderId(polled.order_id), [])
        statuses = {str(stored.event.status) for stored in events}
        if polled.seqs != list(range(1, len(polled.seqs) + 1)) or len(polled.seqs) > len(events):
            yield f"order {polled.order_id} was shown with events {polled.seqs}, {len(events)} are stored"
        if polled.status not in statuses:
            yield f"order {polled.order_id} was shown as {polled.status}, which it never was"
        final = any(isinstance(stored.event, Finalized) for stored in events)
        if polled.finality == Finality.FINALIZED and not final:
            yield f"order {polled.order_id} was shown as finalized, which it never was"


def subscribers_saw_everything_once(evidence: Evidence) -> Iterator[str]:
    """Each saw events 1, 2, 3... once and in order, byte for byte as stored; all where it was told of the end."""
    for subscriber in evidence.seen.record.subscribers:
        order_id, seqs = OrderId(subscriber.order_id), subscriber.seqs
        stored = {each.seq: each.payload for each in evidence.stored.events.get(order_id, [])}
        if seqs != list(range(1, len(seqs) + 1)):
            yield f"a subscriber of order {order_id} saw {seqs}"
        for seq, payload in zip(seqs, subscriber.payloads, strict=True):
            if stored.get(seq) != payload:
                yield f"a subscriber of order {order_id} saw another event {seq} than is stored"
        if len(seqs) < len(stored) and (subscriber.closed_as_ended or evidence.seen.streams_had_time):
            yield f"a subscriber of order {order_id} saw {len(seqs)} of {len(stored)} events"


def limits_never_exceeded(evidence: Evidence) -> Iterator[str]:
    """No worker has more orders in work than allowed, and no 60 seconds see more orders begun.

    Begun: as a claim of a pending order at the store port, at the wall-clock time that the claim is for.
    """
    seen = evidence.seen
    for moment in seen.in_work:
        if moment.count > seen.limits.concurrency:
            yield f"{moment.worker} had {moment.count} orders in work, {seen.limits.concurrency} are allowed"
    rate, begun_ms = seen.limits.rate_per_minute, sorted(begun.time_ms for begun in seen.begun)
    for first_ms, excess_ms in zip(begun_ms, begun_ms[rate:], strict=False) if rate else ():
        if excess_ms - first_ms < _WINDOW_MS:
            yield f"{rate + 1} orders were begun in {excess_ms - first_ms} ms from {first_ms} on, {rate} are allowed"
            return


def no_secret_is_told(evidence: Evidence) -> Iterator[str]:
    """The wallet's secret key is in no event and no log line, however written."""
    told = [(f"log line {number}", line) for number, line in enumerate(evidence.seen.logs, 1)]
    for order_id, events in evidence.stored.events.items():
        told += [(f"order {order_id}: event {stored.seq}", stored.payload.decode()) for stored in events]
    everything = "\n".join(text for _, text in told)
    for number, secret in enumerate(evidence.seen.secrets, 1):
        if secret in everything:
            yield from (f"{where} holds secret {number}" for where, text in told if secret in text)


def database_is_sound(evidence: Evidence) -> Iterator[str]:
    """SQLite finds nothing wrong with the file, and the counts of orders by status are right."""
    yield from evidence.stored.damage
    counted = Counter(str(order.status) for order in evidence.stored.orders.values())
    for status in Status:
        if counted[status] != evidence.stored.counts.get(status, 0):
            yield f"{counted[status]} orders are {status}, the database counts {evidence.stored.counts.get(status, 0)}"


def nothing_stays_claimed(evidence: Evidence) -> Iterator[str]:
    """Once the world has healed, every order ends within the bound, and nobody holds or waits for any.

    The bound is virtual time, generous: many leases, blockhash lives and retries.
    """
    seen = evidence.seen
    took_ms = seen.ended_at_ms - seen.healed_at_ms
    for order in evidence.stored.orders.values():
        if not order.is_terminal:
            yield f"order {order.id} is still {order.status} {took_ms} ms after the world has healed"
    if took_ms > seen.limits.end_within_ms:
        yield f"the end took {took_ms} ms, more than {seen.limits.end_within_ms}"
    queue = seen.queue
    if queue is not None and (queue.in_work or queue.waiting or queue.delayed):
        yield f"{queue.in_work} orders are in work, {queue.waiting} waiting, {queue.delayed} delayed"


CHECKS: Sequence[Check] = (
    accepted_orders_present, unsound_requests_are_refused, answers_are_true, legal_edges, events_are_gap_free,
    orders_are_the_sum_of_their_events, accepted_cancels_hold, retries_are_few_and_spaced, fatal_errors_end_the_order,
    at_most_one_fill_per_order, stored_fill_is_chain_truth, fills_keep_their_terms, attempts_are_stored_before_sent,
    attempts_are_chain_truth, balances_are_conserved, subscribers_saw_everything_once, limits_never_exceeded,
    nothing_stays_claimed, no_secret_is_told, database_is_sound,
)  # fmt: skip
