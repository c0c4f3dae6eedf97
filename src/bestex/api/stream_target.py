"""Which order a WebSocket asks for, and from which event on."""

import re
from typing import NamedTuple
from urllib.parse import parse_qsl

from bestex.api.orders import check_order_id
from bestex.errors import OrderNotFound
from bestex.types import OrderId

_SEQ = re.compile(r"[0-9]{1,9}", re.ASCII)


class Close(NamedTuple):
    """Why a socket is closed: RFC 6455's codes, and our own from 4000 on."""

    code: int
    reason: str


NO_SUCH_ORDER = Close(4404, "no order has this id")


class Target(NamedTuple):
    """What to send."""

    order_id: OrderId
    from_seq: int


def read_target(order_id: str | None, query: bytes) -> Target | Close:
    """What the client asks for, or why it gets nothing."""
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=10)
    except ValueError:
        return Close(4400, "the query is malformed")
    values = dict(pairs)
    allowed = {"fromSeq"} if order_id is not None else {"fromSeq", "orderId"}
    if len(values) != len(pairs) or values.keys() - allowed:
        return Close(4400, f"the query takes {' and '.join(sorted(allowed))}, once each")
    order_id = order_id if order_id is not None else values.get("orderId")
    if not order_id:
        return Close(4400, "orderId is missing: connect to /api/orders/execute?orderId=...")
    from_seq = values.get("fromSeq", "1")
    if not _SEQ.fullmatch(from_seq) or int(from_seq) < 1:
        return Close(4400, "fromSeq must be a whole number from 1 on")
    try:
        return Target(check_order_id(order_id), int(from_seq))
    except OrderNotFound:
        return NO_SUCH_ORDER
