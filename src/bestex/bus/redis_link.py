"""One connection to Redis that answers in bounded time or not at all."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, cast

from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from bestex.errors import BusUnavailable
from bestex.ports import Clock, Entropy

Argument: TypeAlias = str | bytes | int
Command: TypeAlias = Sequence[Argument]


class Connection(Protocol):
    """What we use of redis-py's connection, which is not typed."""

    async def connect(self) -> None:
        """Does nothing when connected. Raises RedisError, OSError."""
        ...

    async def send_packed_command(self, command: list[bytes], check_health: bool) -> None: ...

    async def read_response(self, *, timeout: float | None = None, disconnect_on_error: bool = True) -> Any:  # noqa: ASYNC109
        """The next reply; None after `timeout`. Raises ResponseError for an error reply."""
        ...

    async def disconnect(self, nowait: bool) -> None: ...


_BACKOFF_FIRST_S = 0.05
_BACKOFF_MAX_S = 5.0


class Backoff:
    """How long to wait before the next try: doubling, with jitter, forgotten after a quiet time."""

    def __init__(self, clock: Clock, entropy: Entropy, *, max_s: float = _BACKOFF_MAX_S) -> None:
        self._clock = clock
        self._entropy = entropy
        self._max_s = max_s
        self._ceiling_s = 0.0
        self._until_s = 0.0

    @property
    def remaining_s(self) -> float:
        """Seconds until the next try; 0: now."""
        return max(0.0, self._until_s - self._clock.monotonic_s())

    def failed(self) -> None:
        """Put off the next try."""
        now_s = self._clock.monotonic_s()
        # A server that answers now and then must not start from the shortest wait each time.
        if now_s - self._until_s > 2 * self._max_s:
            self._ceiling_s = 0.0
        self._ceiling_s = min(self._max_s, max(_BACKOFF_FIRST_S, 2 * self._ceiling_s))
        self._until_s = now_s + self._entropy.uniform(self._ceiling_s / 2, self._ceiling_s)

    async def wait(self) -> None:
        """Sleep until the next try is due."""
        await self._clock.sleep(self.remaining_s)


class RedisServer:
    """Where Redis is, and how long it may take to answer."""

    def __init__(self, url: str, *, clock: Clock, entropy: Entropy, timeout_s: float) -> None:
        """`url`: redis://, rediss:// or unix://. Raises ValueError for another."""
        self.clock = clock
        self.entropy = entropy
        self.timeout_s = timeout_s
        self._pool = ConnectionPool.from_url(
            url,
            protocol=2,
            driver_info=None,
            # Every call of ours is under a timeout. The one of redis-py is asyncio.wait_for, which before Python 3.12
            # can swallow a cancellation.
            socket_timeout=None,
            socket_connect_timeout=timeout_s,
            # redis-py would connect again by itself, and nobody would learn that messages were missed.
            retry=Retry(NoBackoff(), 0),
        )

    def connection(self) -> Connection:
        """A connection that is not made yet."""
        make = cast(Callable[[], Connection], self._pool.make_connection)
        return make()

    def backoff(self) -> Backoff:
        return Backoff(self.clock, self.entropy)


async def send(connection: Connection, data: bytes) -> None:
    """Write to a connection. Raises RedisError, OSError."""
    try:
        await connection.send_packed_command([data], check_health=False)
    except RuntimeError as error:  # uvloop's word for a connection that the peer has reset
        raise ConnectionResetError(str(error)) from error


class RedisLink:
    """Calls over one connection, one after the other. After a failure it refuses at once until the back-off ends."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._connection = server.connection()
        self._lock = asyncio.Lock()
        self.backoff = server.backoff()

    async def call(self, *commands: Command) -> list[Any]:
        """The replies, in order; a command that Redis refuses has its ResponseError as its reply.

        Raises BusUnavailable when there is no answer in time; the commands may have been carried out or not.
        """
        if self.backoff.remaining_s:
            raise BusUnavailable("Redis did not answer just now; the next try comes later")
        try:
            async with asyncio.timeout(self._server.timeout_s), self._lock:
                return await self._exchange(commands)
        except (RedisError, OSError, TimeoutError) as error:
            self.backoff.failed()
            raise BusUnavailable(f"Redis does not answer: {type(error).__name__}") from error

    async def ask(self, *command: Argument) -> Any:
        """The reply to one command. Raises BusUnavailable, also when Redis refuses the command."""
        [reply] = await self.call(command)
        if isinstance(reply, ResponseError):
            raise BusUnavailable(f"Redis refuses {command[0]!s}: {reply}") from reply
        return reply

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        connection, whole = self._connection, False
        try:
            await connection.connect()
            await send(connection, packed(commands))
            replies = [await self._reply() for _ in commands]
            whole = True
        finally:
            if not whole:  # the rest of the replies must not be taken for the answers to the next call
                await connection.disconnect(nowait=True)
        return replies

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as error:
            return error


def packed(commands: Sequence[Command]) -> bytes:
    """The commands in Redis' protocol (RESP), in one piece; redis-py's own packing takes three times as long."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for argument in command:
            data = argument if isinstance(argument, bytes) else str(argument).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
