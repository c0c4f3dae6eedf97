"""What the clients were told: the other side of every promise."""

import msgspec


class Posted(msgspec.Struct):
    """One order as its client knows it."""

    client_order_id: str
    user_id: str
    order_ids: list[str] = msgspec.field(default_factory=list)
    """As acknowledged, one for each answer: all must be the same."""
    refused: list[str] = msgspec.field(default_factory=list)
    """Codes of answers that refused it."""
    cancel_accepted: bool = False

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


class ClientRecord(msgspec.Struct):
    """Everything that was said to clients in a run."""

    posted: list[Posted] = msgspec.field(default_factory=list)
    subscribers: list[Subscriber] = msgspec.field(default_factory=list)
