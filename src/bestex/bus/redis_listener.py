"""What the other nodes say, as it reaches this one: on a connection of its own, made again whenever it fails."""

import asyncio

import msgspec
import structlog
from redis.exceptions import RedisError

from bestex.bus.redis_link import Connection, RedisServer, packed, send
from bestex.bus.redis_node import NodeBus
from bestex.bus.redis_wire import decode_message

_HEARTBEAT_S = 2.0
"""A channel that is quiet for so long is asked whether it is still there."""

_log = structlog.get_logger(__name__)


class Listener:
    """Hands what it hears to this node's own subscriptions, and tells them when something may have been missed."""

    def __init__(self, server: RedisServer, channel: str, *, node: bytes, local: NodeBus) -> None:
        """`node`: this node's name, whose messages are skipped."""
        self._server = server
        self._channel = channel
        self._node = node
        self._local = local
        self.listening = asyncio.Event()
        self.connections = 0
        self.messages = 0
        self.events = 0

    async def run(self) -> None:
        """Listen until canceled, whatever becomes of Redis."""
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
                self.listening.clear()
                self._local.hears = False
                await connection.disconnect(nowait=True)
            await backoff.wait()

    async def _subscribe(self, connection: Connection) -> None:
        async with asyncio.timeout(self._server.timeout_s):
            await connection.connect()
            await _send_one(connection, "SUBSCRIBE", self._channel)
            await connection.read_response()
        # From here on nothing is missed that is not in the store already: who reads it now has everything.
        self._local.lose()
        self._local.hears = True
        self._local.wake()
        self.connections += 1
        self.listening.set()

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
        self.messages += 1
        self.events += len(message.events)
        self._local.hand_out(message.events)
        if message.lost:
            self._local.lose()
        if message.wake:
            self._local.wake()


async def _send_one(connection: Connection, *command: str) -> None:
    await send(connection, packed([command]))
