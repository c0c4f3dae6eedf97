"""What a store can be asked to do in a batch."""

from collections.abc import Sequence
from typing import Self

from bestex.orders.events import Event, encode_event
from bestex.orders.order import IdempotencyKeys, Order
from bestex.ports import Acceptance, Change, Claims, Committed, RateLimit
from bestex.store.commit import Operation
from bestex.types import OrderId


class Accept(Operation[Acceptance]):
    """A new order with its first event; `kinds`: the kinds and values of the keys that came with it."""

    __slots__ = ("event", "keys", "kinds", "order")

    def __init__(self, order: Order, event: Committed, keys: IdempotencyKeys) -> None:
        self.answer = None
        self.order = order
        self.event = event
        self.keys = keys
        named = (("client_order_id", keys.client_order_id), ("header_key", keys.header_key))
        self.kinds = [(kind, key) for kind, key in named if key is not None]

    @classmethod
    def checked(cls, order: Order, event: Event, keys: IdempotencyKeys) -> Self:
        """Raises ValueError unless this is a new order with its first event."""
        _check(order, (event,))
        if order.is_terminal or order.lease_owner is not None:
            raise ValueError(f"order {order.id} is not a new one")
        return cls(order, Committed(order.id, event.seq, event.status, False, encode_event(event), order), keys)


class Record(Operation[None]):
    """A step of an order, its events encoded. `ends`: the order is terminal after it."""

    __slots__ = ("change", "ends", "events")

    def __init__(self, change: Change, events: list[Committed], ends: bool) -> None:
        self.answer = None
        self.change = change
        self.events = events
        self.ends = ends

    @classmethod
    def checked(cls, change: Change) -> Self:
        """Raises ValueError unless the events, and the attempt, are steps of the order."""
        order = change.order
        _check(order, change.events)
        if change.attempt is not None and change.attempt.order_id != order.id:
            raise ValueError(f"an attempt of order {change.attempt.order_id} is no step of order {order.id}")
        ends, last = order.is_terminal, order.seq
        events = [
            Committed(
                order.id, event.seq, event.status, ends and event.seq == last, encode_event(event),
                order if event.seq == last else None,
            )
            for event in change.events
        ]  # fmt: skip
        return cls(change, events, ends)


class Claim(Operation[Claims]):
    """Leases on orders that are still to be filled."""

    __slots__ = ("lease_ms", "limit", "now_ms", "rate", "worker")

    def __init__(self, worker: str, *, limit: int, now_ms: int, lease_ms: int, rate: RateLimit | None) -> None:
        super().__init__()
        self.worker = worker
        self.limit = limit
        self.now_ms = now_ms
        self.lease_ms = lease_ms
        self.rate = rate


class ClaimUnfinal(Operation[Claims]):
    """Leases on confirmed orders that are not final."""

    __slots__ = ("lease_ms", "limit", "now_ms", "worker")

    def __init__(self, worker: str, *, limit: int, now_ms: int, lease_ms: int) -> None:
        super().__init__()
        self.worker = worker
        self.limit = limit
        self.now_ms = now_ms
        self.lease_ms = lease_ms


class Renew(Operation[None]):
    """Leases of a worker, prolonged."""

    __slots__ = ("lease_until_ms", "order_ids", "worker")

    def __init__(self, worker: str, order_ids: Sequence[OrderId], *, lease_until_ms: int) -> None:
        super().__init__()
        self.worker = worker
        self.order_ids = order_ids
        self.lease_until_ms = lease_until_ms


class Ping(Operation[None]):
    """A write that changes nothing anyone reads."""

    __slots__ = ()


class ReadOrder(Operation[Order]):
    """An order that is not in memory."""

    __slots__ = ("order_id",)

    def __init__(self, order_id: OrderId) -> None:
        super().__init__()
        self.order_id = order_id


class ReadEvents(Operation[list[Committed]]):
    """An order's events from a sequence number on."""

    __slots__ = ("from_seq", "order_id")

    def __init__(self, order_id: OrderId, from_seq: int) -> None:
        super().__init__()
        self.order_id = order_id
        self.from_seq = from_seq


def _check(order: Order, events: Sequence[Event]) -> None:
    """Raise ValueError unless the events lead up to the order's present state."""
    seq = order.seq - len(events)
    for event in events:
        seq += 1
        if event.seq != seq or event.order_id != order.id:
            raise ValueError(
                f"event {event.seq} of order {event.order_id} is no step to event {order.seq} of {order.id}"
            )
    if events and events[-1].status is not order.status:
        raise ValueError(f"order {order.id} is {order.status}, its last event says {events[-1].status}")
