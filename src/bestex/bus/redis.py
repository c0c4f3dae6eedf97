"""The bus between many processes: Redis or Valkey, of which everything may be lost at any moment.

What this node publishes reaches its own subscriptions at once, in the process, and the other nodes through one channel:
one message per commit batch, sent in the background. A node receives each message once and hands the events to its own
subscriptions. Whenever something may have been missed (this node's connection was lost, or another node had to throw
messages away) all subscriptions end as overflowed, and their readers take up from the store by sequence number.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec
import structlog
from redis.exceptions import RedisError, ResponseError

from bestex.bus.redis_active import ActiveOrder, ActiveOrders, OpenOrders
from bestex.bus.redis_link import Command, Connection, RedisLink, RedisServer
from bestex.bus.redis_node import NodeBus, NodeSubscription
from bestex.bus.redis_outbox import Outbox, Parcel
from bestex.bus.redis_wire import NODE_BYTES, decode_message, encode_message
from bestex.errors import BestexError, BusUnavailable
from bestex.ports import Committed
from bestex.types import OrderId

_HEARTBEAT_S = 2.0
"""A channel that is quiet for so long is asked whether it is still there."""
_REBUILD_CHECK_S = 1.0

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
        self._local = NodeBus(buffer_events=buffer_events)
        self._outbox = Outbox(events_max=queue_events)
        self._active = ActiveOrders(server, prefix=f"{prefix}active:", rebuild_s=rebuild_s)
        self._link = RedisLink(server)
        self._open_orders = open_orders
        self._listening = asyncio.Event()
        self.connections = 0
        """How often the channel was subscribed to: each time after the first, something may have been missed."""

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

    # --- the active orders --------------------------------------------------------------------------------------------

    async def active(self, limit: int) -> list[ActiveOrder]:
        """Orders that have not ended, oldest first. Raises BusUnavailable: then ask the store."""
        return await self._active.read(limit)

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
        return self._listening.is_set()

    async def wait_listening(self) -> None:
        """Until other nodes are heard."""
        await self._listening.wait()

    async def run(self) -> None:
        """Talk to Redis until canceled, whatever becomes of Redis."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_up(self._listen))
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
                self._outbox.delivered()

    async def _deliver(self, parcel: Parcel) -> None:
        changes = self._changes(parcel)
        message = encode_message(self._node, parcel.batches, wake=parcel.wake, lost=parcel.lost)
        published, *changed = await self._link.call(("PUBLISH", self._channel, message), *changes)
        if isinstance(published, ResponseError):
            self._link.backoff.failed()
            raise BusUnavailable(f"Redis refuses a message: {published}")
        for refused in changed:
            if isinstance(refused, ResponseError):
                self._outbox.mark_stale()
                _log.warning("active orders were not changed", reason=str(refused))

    def _changes(self, parcel: Parcel) -> list[Command]:
        """What the parcel means for the active orders."""
        stale, change = parcel.stale, None
        try:
            change = self._active.change([event for batch in parcel.batches for event in batch])
        except msgspec.DecodeError as error:
            stale = True
            _log.warning("an event cannot be read", reason=str(error))
        return [*([self._active.invalidate()] if stale else []), *([change] if change is not None else [])]

    # --- receiving ----------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        backoff = self._server.backoff()
        while True:
            connection = self._server.connection()
            try:
                await self._subscribe(connection)
                await self._receive(connection)
            except (RedisError, OSError, TimeoutError) as error:
                backoff.failed()
                _log.warning("other nodes are not heard", reason=type(error).__name__, again_in_s=backoff.remaining_s)
            finally:
                self._listening.clear()
                await connection.disconnect(nowait=True)
            await backoff.wait()

    async def _subscribe(self, connection: Connection) -> None:
        async with asyncio.timeout(self._server.timeout_s):
            await connection.connect()
            await _send_one(connection, "SUBSCRIBE", self._channel)
            await connection.read_response()
        # From here on nothing is missed that is not in the store already: who reads it now has everything.
        self._local.lose()
        self._local.wake()
        self.connections += 1
        self._listening.set()

    async def _receive(self, connection: Connection) -> None:
        """Until the connection fails. Raises TimeoutError when not even a heartbeat is answered."""
        asked = False
        while True:
            timeout_s = self._server.timeout_s if asked else _HEARTBEAT_S
            reply = await connection.read_response(timeout=timeout_s, disconnect_on_error=False)
            if reply is None:
                if asked:
                    raise TimeoutError
                async with asyncio.timeout(self._server.timeout_s):
                    await _send_one(connection, "PING")
                asked = True
                continue
            asked = False
            if isinstance(reply, list) and reply[0] == b"message":
                self._take(reply[2])

    def _take(self, data: bytes) -> None:
        if data.startswith(self._node):
            return
        try:
            message = decode_message(data)
        except msgspec.DecodeError as error:
            _log.warning("a message cannot be read", reason=str(error))
            self._local.lose()
            return
        self._local.publish(message.events)
        if message.lost:
            self._local.lose()
        if message.wake:
            self._local.wake()

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


async def _send_one(connection: Connection, *command: str) -> None:
    await connection.send_packed_command(connection.pack_commands([command]), check_health=False)
