"""The orders that have not ended, as Redis knows them: a copy of what the store has, for reading only.

The copy is whole as long as two keys agree, `state` and `whole`. Whoever has lost a change deletes `state`, and a Redis
that comes back empty has neither: then readers are sent to the store until a node has rebuilt the copy.
"""

from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, islice
from typing import TypeAlias

import msgspec

from bestex.bus.redis_link import Argument, Command, RedisLink, RedisServer
from bestex.bus.redis_scripts import APPLY, BEGIN_REBUILD, END_REBUILD, READ
from bestex.errors import BusUnavailable
from bestex.orders.order import Order
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

Change: TypeAlias = tuple[Argument, ...]
"""Order id, sequence number, status, 1 if it has ended, the order as JSON: as the script takes them."""

_decode = msgspec.json.Decoder(Order).decode
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

        Raises ValueError for a last event of an order without the order.
        """
        latest = {event.order_id: event for event in events}
        return self._apply([_of_event(event) for event in latest.values()]) if latest else None

    def invalidate(self) -> Command:
        """The command that sends readers to the store until the copy is rebuilt."""
        return ("DEL", self._state)

    async def read(self, limit: int) -> list[Order]:
        """Oldest first. Raises BusUnavailable when Redis does not answer or its copy may not be whole."""
        documents = await self._link.ask(
            "EVAL", READ, 3, self._open, self._state, self._whole, self._order, limit
        )  # fmt: skip
        if documents is None or None in documents:
            raise BusUnavailable("Redis does not have all active orders now")
        try:
            return [_decode(document) for document in documents]
        except msgspec.DecodeError as error:
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
        ended = set(known) - {order.id for order in orders}
        changes = chain(map(_ended, ended), map(_open, orders))
        while chunk := list(islice(changes, _CHUNK)):
            self._check_age(began_s)
            await self._link.ask(*self._apply(chunk))
        self._check_age(began_s)
        whole = await self._link.ask(
            "EVAL", END_REBUILD, 4, self._state, self._whole, self._fresh, self._busy, state, self._rebuild_ms
        )
        return bool(whole)

    def _check_age(self, began_s: float) -> None:
        """Raise BusUnavailable if Redis may have forgotten the end of an order that was open when the store was read.

        It is this node that may have been frozen; another one has taken over the rebuild then.
        """
        if self._clock.monotonic_s() - began_s > _REBUILD_MAX_S:
            raise BusUnavailable(f"the active orders could not be rebuilt within {_REBUILD_MAX_S} s")

    async def _let_others_try(self) -> None:
        try:
            await self._link.ask("DEL", self._busy)
        except BusUnavailable:
            return  # the key ends by itself

    def _apply(self, changes: Sequence[Change]) -> Command:
        return ("EVAL", APPLY, 1, self._open, self._order, _REMEMBER_ENDED_S, *chain.from_iterable(changes))

    def _token(self) -> str:
        return self._entropy.bytes(_STATE_BYTES).hex()


def _of_event(event: Committed) -> Change:
    if event.final:
        return _ended(event.order_id)
    if event.order is None or event.order.seq != event.seq:
        raise ValueError(f"event {event.seq} of order {event.order_id} came without the order")
    return _open(event.order)


def _open(order: Order) -> Change:
    return (order.id, order.seq, str(order.status), 0, _encode(order))


def _ended(order_id: OrderId) -> Change:
    return (order_id, 0, "", 1, b"")
