"""The orders that have not ended, as Redis knows them: a copy of what the store has, for reading only.

The copy is whole as long as two keys agree, `state` and `whole`. Whoever has lost a change deletes `state`, and a Redis
that comes back empty has neither: then readers are sent to the store until a node has rebuilt the copy.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from bestex.bus.redis_link import Command, RedisLink, RedisServer
from bestex.bus.redis_scripts import APPLY, BEGIN_REBUILD, END_REBUILD, FORGET, READ
from bestex.errors import BusUnavailable
from bestex.orders.amount import to_units
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.ports import Committed
from bestex.types import OrderId

OpenOrders: TypeAlias = Callable[[], Awaitable[Sequence[Order]]]
"""Reads all orders that are not terminal from the store."""

_REMEMBER_ENDED_S = 60
"""How long a straggling event of an ended order cannot bring it back."""
_REBUILD_MAX_S = _REMEMBER_ENDED_S / 2
_CHUNK = 500
"""Orders in one script: Redis does nothing else meanwhile."""
_STATE_BYTES = 8


class Requested(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What the client asked for, as far as the order's first event says it."""

    type: str
    user_id: str
    token_in: str
    token_out: str
    amount_in: str
    """In units of the token."""
    in_amount: str
    """In base units."""
    slippage_bps: int
    created_at_ms: int
    priority: int = 0
    client_order_id: str | None = None


class ActiveOrder(msgspec.Struct, frozen=True, gc=False):
    """An order that has not ended, and where it stands."""

    order_id: OrderId
    seq: int
    status: Status
    updated_at_ms: int
    requested: Requested


class _Header(msgspec.Struct, frozen=True, gc=False):
    at: datetime


class _Accepted(_Header, frozen=True, rename="camel", gc=False):
    type: str
    user_id: str
    token_in: str
    token_out: str
    amount_in: str
    in_amount: str
    slippage_bps: int
    priority: int
    client_order_id: str | None = None


Change: TypeAlias = tuple[str, str, str, str, bool, str]
"""Order id, sequence number, status, time of it, whether the order has ended, what was asked for or nothing."""

_decode_header = msgspec.json.Decoder(_Header).decode
_decode_accepted = msgspec.json.Decoder(_Accepted).decode
_decode_requested = msgspec.json.Decoder(Requested).decode
_encode = msgspec.json.Encoder().encode


class ActiveOrders:
    """Writes and reads the copy."""

    def __init__(self, server: RedisServer, *, prefix: str, rebuild_s: float) -> None:
        """`rebuild_s`: how often the copy is made anew though nothing is known to be lost."""
        self._clock = server.clock
        self._entropy = server.entropy
        self._link = RedisLink(server)
        self._rebuild_ms = round(rebuild_s * 1000)
        self._open = f"{prefix}open"
        self._order = f"{prefix}order:"
        self._state, self._whole = f"{prefix}state", f"{prefix}whole"
        self._fresh, self._busy = f"{prefix}fresh", f"{prefix}rebuilding"

    def change(self, events: Sequence[Committed]) -> Command | None:
        """The command that brings the copy up to date with the events; None: they change nothing.

        Raises msgspec.DecodeError for an event that is none.
        """
        latest: dict[OrderId, Committed] = {}
        requested: dict[OrderId, str] = {}
        for event in events:
            latest[event.order_id] = event
            if event.seq == 1:
                requested[event.order_id] = _text(_of_event(_decode_accepted(event.payload)))
        changes = [_change(event, requested.get(order_id, "")) for order_id, event in latest.items()]
        return self._apply(changes) if changes else None

    def invalidate(self) -> Command:
        """The command that sends readers to the store until the copy is rebuilt."""
        return ("DEL", self._state)

    async def read(self, limit: int) -> list[ActiveOrder]:
        """Oldest first. Raises BusUnavailable when Redis does not answer or its copy may not be whole."""
        rows = await self._link.ask(
            "EVAL", READ, 3, self._open, self._state, self._whole, self._order, limit
        )  # fmt: skip
        if rows is None or any(None in row for row in rows):
            raise BusUnavailable("Redis does not have all active orders now")
        try:
            return [_active(row) for row in rows]
        except ValueError as error:  # msgspec's too
            raise BusUnavailable("Redis has an active order that cannot be read") from error

    async def rebuild_if_due(self, read_open: OpenOrders) -> bool:
        """Make the copy anew if it is not whole or not fresh, and no other node is about it; whether it was done.

        Raises BusUnavailable, and what `read_open` raises.
        """
        busy_ms = round(_REBUILD_MAX_S * 1000)
        state = await self._link.ask(
            "EVAL", BEGIN_REBUILD, 4, self._state, self._whole, self._fresh, self._busy, self._token(), busy_ms
        )
        if state is None:
            return False
        try:
            return await self._rebuild(state, read_open)
        except Exception:
            await self._let_others_try()
            raise

    async def rebuild(self, read_open: OpenOrders) -> None:
        """Make the copy anew now. Raises BusUnavailable, and what `read_open` raises."""
        await self._link.ask("DEL", self._state, self._fresh, self._busy)
        if not await self.rebuild_if_due(read_open):
            raise BusUnavailable("another node has begun to rebuild the active orders, or something was lost meanwhile")

    async def close(self) -> None:
        await self._link.close()

    async def _rebuild(self, state: bytes, read_open: OpenOrders) -> bool:
        began_s = self._clock.monotonic_s()
        # Known before the store is read, and not in what it says: ended. An order that comes meanwhile is left alone.
        known = [OrderId(each.decode()) for each in await self._link.ask("ZRANGE", self._open, 0, -1)]
        orders = await read_open()
        for at in range(0, len(orders), _CHUNK):
            await self._link.ask(*self._apply([_of_order(order) for order in orders[at : at + _CHUNK]]))
        ended = list(set(known) - {order.id for order in orders})
        for at in range(0, len(ended), _CHUNK):
            await self._link.ask("EVAL", FORGET, 1, self._open, self._order, *ended[at : at + _CHUNK])
        if self._clock.monotonic_s() - began_s > _REBUILD_MAX_S:
            raise BusUnavailable(f"the active orders could not be rebuilt within {_REBUILD_MAX_S} s")
        whole = await self._link.ask(
            "EVAL", END_REBUILD, 4, self._state, self._whole, self._fresh, self._busy, state, self._rebuild_ms
        )
        return bool(whole)

    async def _let_others_try(self) -> None:
        try:
            await self._link.ask("DEL", self._busy)
        except BusUnavailable:
            return  # the key ends by itself

    def _apply(self, changes: list[Change]) -> Command:
        return ("EVAL", APPLY, 1, self._open, self._order, _encode(changes), _REMEMBER_ENDED_S)

    def _token(self) -> str:
        return self._entropy.bytes(_STATE_BYTES).hex()


def _change(event: Committed, requested: str) -> Change:
    at_ms = round(_decode_header(event.payload).at.timestamp() * 1000)
    return (event.order_id, str(event.seq), str(event.status), str(at_ms), event.final, requested)


def _text(requested: Requested) -> str:
    return _encode(requested).decode()


def _of_event(accepted: _Accepted) -> Requested:
    return Requested(
        type=accepted.type,
        user_id=accepted.user_id,
        token_in=accepted.token_in,
        token_out=accepted.token_out,
        amount_in=accepted.amount_in,
        in_amount=accepted.in_amount,
        slippage_bps=accepted.slippage_bps,
        created_at_ms=round(accepted.at.timestamp() * 1000),
        priority=accepted.priority,
        client_order_id=accepted.client_order_id,
    )


def _of_order(order: Order) -> Change:
    terms = order.terms
    requested = Requested(
        type=terms.type,
        user_id=terms.user_id,
        token_in=terms.token_in,
        token_out=terms.token_out,
        amount_in=to_units(terms.in_amount, terms.in_decimals),
        in_amount=str(terms.in_amount),
        slippage_bps=terms.slippage_bps,
        created_at_ms=order.created_at_ms,
        priority=terms.priority,
        client_order_id=terms.client_order_id,
    )
    updated = str(order.updated_at_ms)
    return (order.id, str(order.seq), str(order.status), updated, False, _text(requested))


def _active(row: list[Any]) -> ActiveOrder:
    seq, status, updated, requested, order_id = row
    return ActiveOrder(
        OrderId(order_id.decode()), int(seq), Status(status.decode()), int(updated), _decode_requested(requested)
    )
