"""Orders, events and attempts as the JSON that one statement takes, or gives, for a whole batch.

Python is slow at handing rows to SQLite one by one: with every step it lets go of the interpreter's lock and must win
it back. So a statement takes all its rows in one JSON text, and gives all its rows in one. Texts that are JSON
themselves travel beside it in one piece, so that nothing escapes or parses them.
"""

from collections.abc import Iterable, Sequence

import msgspec

from bestex.orders.attempt import LIVE, Attempt, AttemptState
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.ports import Committed
from bestex.store.lanes import Entry
from bestex.store.plan import NumberedAttempt, Step
from bestex.types import OrderId

_encoder = msgspec.json.Encoder()
_orders: msgspec.json.Decoder[list[Order]] = msgspec.json.Decoder(list[Order])
_numbered: msgspec.json.Decoder[list[tuple[int, Order]]] = msgspec.json.Decoder(list[tuple[int, Order]])


class StoredEvent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An answer of the statement `events`; `place` is that of its order in the question."""

    place: int
    seq: int
    status: Status
    final: bool
    payload: msgspec.Raw


class StoredAttempt(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An attempt as it was first stored, and what has become of it."""

    state: AttemptState
    slot: int | None
    error: str | None
    first: Attempt

    @property
    def attempt(self) -> Attempt:
        return msgspec.structs.replace(self.first, state=self.state, slot=self.slot, error=self.error)


class Counts(msgspec.Struct, array_like=True, frozen=True):
    """The answer of the statement `counts`."""

    by_status: dict[str, int]
    starts: list[tuple[int, int]]
    last_number: int


_attempts: msgspec.json.Decoder[list[StoredAttempt]] = msgspec.json.Decoder(list[StoredAttempt])
_open: msgspec.json.Decoder[list[tuple[int, Order, list[StoredAttempt]]]] = msgspec.json.Decoder(
    list[tuple[int, Order, list[StoredAttempt]]]
)
_events: msgspec.json.Decoder[list[StoredEvent]] = msgspec.json.Decoder(list[StoredEvent])
_counts: msgspec.json.Decoder[Counts] = msgspec.json.Decoder(Counts)


class Pieces:
    """Texts in one piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._next = 1  # SQL counts from one

    def add(self, piece: bytes) -> tuple[int, int]:
        """Where the text begins, and its length, for substr()."""
        start, size = self._next, len(piece)
        self._pieces.append(piece)
        self._next = start + size
        return start, size

    def joined(self) -> bytes:
        return b"".join(self._pieces)


def encode(rows: object) -> str:
    """Rows as a JSON parameter."""
    return _encoder.encode(rows).decode()


def new_orders(entries: Iterable[Entry]) -> dict[str, object]:
    """For `batch`."""
    documents = Pieces()
    rows = [
        (
            entry.number,
            entry.order.id,
            entry.order.terms.user_id,
            entry.order.status,
            entry.order.seq,
            *documents.add(_encoder.encode(entry.order)),
        )
        for entry in entries
    ]
    return {"new_orders": encode(rows), "new_documents": documents.joined()}


def steps(steps: Iterable[Step]) -> dict[str, object]:
    """For `batch`: orders that stay open, and orders that end."""
    going: list[tuple[object, ...]] = []
    ending: list[tuple[object, ...]] = []
    going_documents, ending_documents = Pieces(), Pieces()
    for step in steps:
        entry, order = step.entry, step.order
        rows, documents = (ending, ending_documents) if step.ends else (going, going_documents)
        place = documents.add(_encoder.encode(order))
        rows.append((entry.number, entry.order.seq, order.status, order.seq, *place))
    return {
        "steps": encode(going),
        "step_documents": going_documents.joined(),
        "ends": encode(ending),
        "end_documents": ending_documents.joined(),
    }


def events(numbered: Iterable[tuple[int, Sequence[Committed]]]) -> dict[str, object]:
    """For `batch`: events with the numbers of their orders."""
    payloads: list[bytes] = []
    rows: list[tuple[int, int, int, int]] = []
    start = 1
    for number, events in numbered:
        for event in events:
            payload = event.payload
            size = len(payload)
            rows.append((number, event.seq, start, size))
            payloads.append(payload)
            start += size
    return {"events": encode(rows), "payloads": b"".join(payloads)}


def attempts(new: Iterable[NumberedAttempt], changed: Iterable[NumberedAttempt]) -> dict[str, object]:
    """For `batch`. Attempts that are over come first: one that goes live again must find the other gone."""
    documents = Pieces()
    new_rows = [
        (
            number,
            attempt.number,
            attempt.state,
            attempt.slot,
            attempt.error,
            attempt.last_valid_block_height,
            attempt.signature,
            *documents.add(_encoder.encode(attempt)),
        )
        for number, attempt in new
    ]
    changed_rows = [
        (number, attempt.number, attempt.state, attempt.slot, attempt.error)
        for number, attempt in sorted(changed, key=lambda pair: pair[1].state in LIVE)
    ]
    return {
        "attempt_steps": encode(changed_rows),
        "new_attempts": encode(new_rows),
        "attempt_documents": documents.joined(),
    }


def decode_orders(text: str) -> list[Order]:
    """Of the statement `orders`."""
    return [unleased(order) for order in _orders.decode(text)]


def decode_page(text: str) -> list[tuple[int, Order]]:
    """Of the statements `page...`: orders with their numbers."""
    return [(number, unleased(order)) for number, order in _numbered.decode(text)]


def decode_attempts(text: str) -> list[Attempt]:
    """Of the statement `attempts`."""
    return [stored.attempt for stored in _attempts.decode(text)]


def decode_open_orders(text: str) -> list[Entry]:
    """Of the statement `open_orders`: without leases, which ended with the process that gave them."""
    return [
        Entry(number, unleased(order), {attempt.first.number: attempt.attempt for attempt in stored})
        for number, order, stored in _open.decode(text)
    ]


def unleased(order: Order) -> Order:
    """The order without what its document says of a lease."""
    if order.lease_owner is None and not order.lease_until_ms:
        return order
    return msgspec.structs.replace(order, lease_owner=None, lease_until_ms=0)


def decode_counts(text: str) -> Counts:
    """Of the statement `counts`."""
    return _counts.decode(text)


def decode_events(text: str, order_ids: Sequence[OrderId]) -> list[list[Committed]]:
    """Of the statement `events`: one list per order that was asked for."""
    found: list[list[Committed]] = [[] for _ in order_ids]
    for event in _events.decode(text):
        order_id = order_ids[event.place]
        payload = bytes(event.payload)
        found[event.place].append(Committed(order_id, event.seq, event.status, event.final, payload))
    return found
