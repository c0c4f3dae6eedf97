"""What the clients were told: the other side of every promise."""

import msgspec


class Posted(msgspec.Struct):
    """One order as its client knows it. Different users may use the same key."""

    client_order_id: str
    """The key, whichever way it was sent."""
    user_id: str
    order_ids: list[str] = msgspec.field(default_factory=list)
    """As acknowledged, one for each answer: all must be the same."""
    refused: list[str] = msgspec.field(default_factory=list)
    """Codes of answers that refused it."""
    cancel_accepted: bool = False
    key_in_header: bool = False
    """Sent as `Idempotency-Key` and not as `clientOrderId`."""
    sound: bool = True
    """False: the request breaks a rule, and must be refused."""

    @property
    def key_kind(self) -> str:
        """As the store names it."""
        return "header_key" if self.key_in_header else "client_order_id"

    @property
    def accepted(self) -> bool:
        return bool(self.order_ids)


class Subscriber(msgspec.Struct):
    """One reader of an order's events over all its connections: it resumes where it was."""

    order_id: str
    seqs: list[int] = msgspec.field(default_factory=list)
    """As received, every connection's after the one before."""
    payloads: list[bytes] = msgspec.field(default_factory=list)
    closed_as_ended: bool = False
    """Whether the server said that the order has ended."""


class Polled(msgspec.Struct):
    """An order as it was looked up."""

    order_id: str
    status: str
    finality: str | None
    seqs: list[int]
    """Of the events in the answer."""


class ClientRecord(msgspec.Struct):
    """Everything that was said to clients in a run."""

    posted: list[Posted] = msgspec.field(default_factory=list)
    subscribers: list[Subscriber] = msgspec.field(default_factory=list)
    polled: list[Polled] = msgspec.field(default_factory=list)
    """In the order of the answers."""
    unexpected: list[str] = msgspec.field(default_factory=list)
    """Answers and closings that no fault of the world excuses, in words."""
