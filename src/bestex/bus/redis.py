"""The bus between many processes: Redis or Valkey, of which everything may be lost at any moment.

What this node publishes reaches its own subscriptions at once, in the process, and the other nodes through one channel:
one message per commit batch, sent in the background. A node receives each message once and hands the events to its own
subscriptions. Whenever something may have been missed (this node's connection was lost, or another node had to throw
messages away) all subscriptions end as lost, and their readers take up from the store by sequence number.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog
from redis.exceptions import ResponseError

from bestex.bus.redis_active import ActiveOrders, OpenOrders
from bestex.bus.redis_link import Command, RedisLink, RedisServer
from bestex.bus.redis_listener import Listener
from bestex.bus.redis_node import NodeBus, NodeSubscription
from bestex.bus.redis_outbox import Outbox, Parcel
from bestex.bus.redis_wire import NODE_BYTES, encode_message
from bestex.errors import BestexError, BusUnavailable
from bestex.orders.order import Order
from bestex.ports import Committed
from bestex.types import OrderId

_REBUILD_CHECK_S = 1.0
_RECENT_ORDERS = 1_000
"""A client that streams an order opens its WebSocket right after the POST, on the same node."""

_log = structlog.get_logger(__name__)


class RedisBus:
    """A `Bus` over Redis. `run` must be running; without it, or without Redis, the bus is one of this process alone."""

    def __init__(
        self,
        server: RedisServer,
        *,
        prefix: str,
        buffer_events: int,
        queue_events: int = 10_000,
        rebuild_s: float = 60.0,
        open_orders: OpenOrders | None = None,
    ) -> None:
        """`prefix`: in front of every key, the deployment's name. `buffer_events`: as in `LocalBus`.

        `queue_events`: how many events wait for Redis before new ones are thrown away. `open_orders` reads all open
        orders from the store; with it, `run` rebuilds the active orders when needed, and every `rebuild_s`.
        """
        self._server = server
        self._channel = f"{prefix}events"
        self._node = server.entropy.bytes(NODE_BYTES)
        self._local = NodeBus(buffer_events=buffer_events, recent_orders=_RECENT_ORDERS)
        self._outbox = Outbox(events_max=queue_events)
        self._active = ActiveOrders(server, prefix=f"{prefix}active:", rebuild_s=rebuild_s)
        self._link = RedisLink(server)
        self._open_orders = open_orders
        self._listener = Listener(server, self._channel, node=self._node, local=self._local)
        self.messages_sent = self.events_sent = 0
        """To the other nodes. A message carries the events of one or more commits."""

    # --- the port -----------------------------------------------------------------------------------------------------

    def publish(self, events: Sequence[Committed]) -> None:
        """As `Bus.publish`. Never waits: what Redis does not take in time is thrown away."""
        self._local.publish(events)
        self._outbox.put(events)

    def subscribe(self, order_id: OrderId) -> NodeSubscription:
        """As `Bus.subscribe`."""
        return self._local.subscribe(order_id)

    def wake(self) -> None:
        """As `Bus.wake`, on all nodes."""
        self._local.wake()
        self._outbox.wake()

    async def wait_for_work(self, timeout_s: float) -> None:
        """As `Bus.wait_for_work`."""
        await self._local.wait_for_work(timeout_s)

    async def active(self, limit: int) -> list[Order] | None:
        """As `Bus.active`. What this node has published is in it; other nodes' changes may be a moment late."""
        if self._link.backoff.remaining_s:
            return None
        try:
            async with asyncio.timeout(self._server.timeout_s):
                if not await self._outbox.wait_sent():
                    return None
            return await self._active.read(limit)
        except (BusUnavailable, TimeoutError):
            return None

    async def rebuild(self, open_orders: OpenOrders) -> None:
        """Make the active orders anew from the store. Raises BusUnavailable, and what `open_orders` raises."""
        await self._active.rebuild(open_orders)

    # --- life ---------------------------------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """Events that wait for Redis."""
        return self._outbox.queued

    @property
    def thrown_away(self) -> int:
        """Events that the other nodes were never told."""
        return self._outbox.thrown_away

    @property
    def listening(self) -> bool:
        """Whether other nodes are heard now."""
        return self._listener.listening.is_set()

    @property
    def connections(self) -> int:
        """How often the channel was subscribed to: each time after the first, something may have been missed."""
        return self._listener.connections

    @property
    def messages_received(self) -> int:
        """From other nodes."""
        return self._listener.messages

    @property
    def events_received(self) -> int:
        """From other nodes."""
        return self._listener.events

    async def wait_listening(self) -> None:
        """Until other nodes are heard."""
        await self._listener.listening.wait()

    async def run(self) -> None:
        """Talk to Redis until canceled, whatever becomes of Redis."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_up(self._listener.run))
                tasks.create_task(self._keep_up(self._send))
                if self._open_orders is not None:
                    tasks.create_task(self._keep_up(partial(self._keep_active, self._open_orders)))
        finally:
            await self._link.close()
            await self._active.close()

    async def drain(self, timeout_s: float) -> bool:
        """Wait until the other nodes have been told everything; False: time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._outbox.wait_empty()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """End all subscriptions: whoever reads one learns that the process stops."""
        self._local.close()

    async def _keep_up(self, part: Callable[[], Awaitable[None]]) -> None:
        """Run a part for ever: what may be lost must not end the engine, not even by a fault of our own."""
        backoff = self._server.backoff()
        while True:
            try:
                await part()
            except Exception:  # noqa: BLE001 - logged with its traceback
                backoff.failed()
                _log.exception("a fault in the bus")
                await backoff.wait()

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        while True:
            await self._link.backoff.wait()
            parcel = await self._outbox.take()
            try:
                await self._deliver(parcel)
            except BaseException as error:
                self._outbox.throw_away(parcel)
                if not isinstance(error, BusUnavailable):
                    raise
                _log.warning("events were not told to other nodes", reason=error.message)
            else:
                self._outbox.delivered(parcel)

    async def _deliver(self, parcel: Parcel) -> None:
        changes = self._changes(parcel)
        message = encode_message(self._node, parcel.batches, wake=parcel.wake, lost=parcel.lost)
        # In this order: whoever hears of an event finds it in the active orders.
        *changed, published = await self._link.call(*changes, ("PUBLISH", self._channel, message))
        if isinstance(published, ResponseError):
            self._link.backoff.failed()
            raise BusUnavailable(f"Redis refuses a message: {published}")
        self.messages_sent += 1
        self.events_sent += sum(map(len, parcel.batches))
        for refused in changed:
            if isinstance(refused, ResponseError):
                self._outbox.mark_stale()
                _log.warning("active orders were not changed", reason=str(refused))

    def _changes(self, parcel: Parcel) -> list[Command]:
        """What the parcel means for the active orders."""
        stale, change = parcel.stale, None
        try:
            change = self._active.change([event for batch in parcel.batches for event in batch])
        except ValueError as error:
            stale = True
            _log.warning("active orders were not changed", reason=str(error))
        return [*([self._active.invalidate()] if stale else []), *([change] if change is not None else [])]

    # --- the active orders --------------------------------------------------------------------------------------------

    async def _keep_active(self, open_orders: OpenOrders) -> None:
        while True:
            try:
                if await self._active.rebuild_if_due(open_orders):
                    _log.info("the active orders were rebuilt")
            except BusUnavailable:
                pass  # its readers ask the store
            except BestexError as error:
                _log.warning("the active orders were not rebuilt", reason=error.message)
            await self._server.clock.sleep(_REBUILD_CHECK_S)
