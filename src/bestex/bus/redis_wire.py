"""What nodes say to each other: one message per commit batch."""

from collections.abc import Sequence

import msgspec

from bestex.orders.status import Status
from bestex.ports import Committed
from bestex.types import OrderId


class _Told(msgspec.Struct, frozen=True, gc=False):
    """A `Committed` without its order: who shows an order's state reads the active orders or the store."""

    order_id: OrderId
    seq: int
    status: Status
    final: bool
    payload: bytes


class Message(msgspec.Struct, frozen=True, gc=False):
    """A map on the wire: a node of another version finds what it knows, and skips the rest."""

    events: list[Committed] = []
    wake: bool = False
    """There may be work."""
    lost: bool = False
    """The sender has thrown messages away: whoever watches has to read the store."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)

NODE_BYTES = 8
"""Length of a sender's name, in front of the message: a node skips its own messages without decoding them."""


def encode_message(node: bytes, batches: Sequence[Sequence[Committed]], *, wake: bool, lost: bool) -> bytes:
    """The batches as one message."""
    events = [
        _Told(event.order_id, event.seq, event.status, event.final, event.payload)
        for batch in batches
        for event in batch
    ]
    return node + _encoder.encode({"events": events, "wake": wake, "lost": lost})


def decode_message(data: bytes) -> Message:
    """The inverse of `encode_message`. Raises msgspec.DecodeError for anything else."""
    return _decoder.decode(memoryview(data)[NODE_BYTES:])
