"""PostgreSQL as we use it: how we connect, which errors pass by themselves, and how long we wait for that."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import asyncpg

from bestex.errors import ConfigError, StoreUnavailable
from bestex.ports import Clock

_OLDEST = 150_000
_CONNECT_S = 5.0
_PAUSE_S = (0.02, 0.5)
"""Between two tries: at first, and at most."""

WRITER: Mapping[str, str] = {
    "application_name": "bestex writer",
    "synchronous_commit": "on",
    # For batches of a hundred rows and more the planner would read whole tables, whatever their size.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
}
READER: Mapping[str, str] = {
    "application_name": "bestex reader",
    "default_transaction_read_only": "on",
    "jit": "off",
}

_TRANSIENT: tuple[type[Exception], ...] = (
    OSError,  # time-outs are among them
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.OutdatedSchemaCacheError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.InterfaceError,  # the connection is closed
    asyncpg.InternalClientError,  # none of the servers is the primary
)
_KEEPS_CONNECTION = (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError)
_ENDS_CONNECTION = ("FATAL", "PANIC")
_EXHAUSTED = (
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)

Answer = TypeVar("Answer")


def is_transient(error: Exception) -> bool:
    """Whether trying again, perhaps on a new connection, may help at once."""
    return isinstance(error, _TRANSIENT) and not isinstance(error, asyncpg.DataError)


def is_unavailable(error: Exception) -> bool:
    """Whether the server cannot do it now, and will not within moments: a full disk, too little memory, no access."""
    return isinstance(error, _EXHAUSTED) and not is_transient(error)


def keeps_connection(error: BaseException) -> bool:
    """Whether it leaves the connection usable: the server has refused a statement, and done nothing of it."""
    if isinstance(error, asyncpg.PostgresError) and not is_transient(error):
        return error.severity_en not in _ENDS_CONNECTION
    return isinstance(error, _KEEPS_CONNECTION)


def unavailable(error: Exception, *, unknown: bool = False) -> StoreUnavailable:
    """What callers are told. `unknown`: the write may have taken place."""
    said = "whether it wrote this is unknown" if unknown else "nothing was written"
    name = type(error).__name__
    return StoreUnavailable(f"PostgreSQL is unavailable ({name}: {error}); {said}", outcome_unknown=unknown)


async def connect(dsn: str, settings: Mapping[str, str], answer_s: float) -> asyncpg.Connection:
    """A connection to the server that takes writes, of all that the DSN names."""
    return await asyncpg.connect(
        dsn,
        timeout=_CONNECT_S,
        command_timeout=answer_s,
        server_settings=dict(settings),
        target_session_attrs=asyncpg.connect_utils.SessionAttribute.read_write,
    )


class _Reader(asyncpg.Connection):
    """A connection that stays as it was made: nothing that we run on it leaves anything behind."""

    def get_reset_query(self) -> str:
        """None: a second round trip after each read would cost as much as the read."""
        return ""


async def create_pool(dsn: str, size: int, answer_s: float) -> asyncpg.Pool:
    """Connections that read what is committed, on the server that takes writes."""
    return await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=size,
        connection_class=_Reader,
        timeout=_CONNECT_S,
        command_timeout=answer_s,
        server_settings=dict(READER),
        target_session_attrs=asyncpg.connect_utils.SessionAttribute.primary,
    )


async def check_version(connection: asyncpg.Connection) -> None:
    """Raise ConfigError for a server that is too old."""
    version = int(await connection.fetchval("SHOW server_version_num"))
    if version < _OLDEST:
        raise ConfigError(f"PostgreSQL {version // 10_000} is too old, {_OLDEST // 10_000} is needed")


class Outage:
    """Whether the server was out of reach when last tried. While it is, each caller tries once and waits no more."""

    def __init__(self, clock: Clock, retry_for_s: float) -> None:
        self._clock = clock
        self._retry_for_s = retry_for_s
        self._lasting = False

    def begin(self) -> "Patience":
        return Patience(self, self._clock, 0.0 if self._lasting else self._retry_for_s)

    def over(self) -> None:
        self._lasting = False

    def lasts(self) -> None:
        self._lasting = True


class Patience:
    """How long one request tries again."""

    def __init__(self, outage: Outage, clock: Clock, for_s: float) -> None:
        self._outage = outage
        self._clock = clock
        self._until_s = clock.monotonic_s() + for_s
        self._pause_s = _PAUSE_S[0]

    async def wait(self, error: Exception, *, unknown: bool = False) -> None:
        """Wait a little before the next try. Raises StoreUnavailable when the time is over."""
        if self._clock.monotonic_s() >= self._until_s:
            self._outage.lasts()
            raise unavailable(error, unknown=unknown) from error
        await self._clock.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _PAUSE_S[1])


class Line:
    """The one connection that writes; made anew when it is lost."""

    def __init__(self, dsn: str, answer_s: float) -> None:
        """`answer_s`: a server that says nothing for so long is taken for lost."""
        self._dsn = dsn
        self._answer_s = answer_s
        self._connection: asyncpg.Connection | None = None

    async def connected(self) -> asyncpg.Connection:
        """The connection, or a new one."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._dsn, WRITER, self._answer_s)
        return self._connection

    def after(self, error: BaseException) -> None:
        """Let go of the connection unless the error leaves it usable."""
        if not keeps_connection(error):
            self.drop()

    def drop(self) -> None:
        """Close at once, without a word."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """Close."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            try:
                await connection.close(timeout=_CONNECT_S)
            except Exception:  # noqa: BLE001 - it is gone either way
                connection.terminate()


async def patiently(outage: Outage, action: Callable[[], Awaitable[Answer]]) -> Answer:
    """Do what may be done again and again: a read, or a write that is the same when it is done twice.

    Raises StoreUnavailable.
    """
    patience = outage.begin()
    while True:
        try:
            answer = await action()
        except Exception as error:
            if is_unavailable(error):
                raise unavailable(error) from error
            if not is_transient(error):
                raise
            await patience.wait(error)
        else:
            outage.over()
            return answer
