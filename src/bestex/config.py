"""One frozen Settings, from defaults, a TOML file and BESTEX_* variables, validated before anything opens."""

import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta

from bestex.errors import ConfigError


class Network(StrEnum):
    """How the paper network behaves."""

    INSTANT = "instant"
    """Blocks as fast as they can be made durable; nothing is lost. For load tests."""
    FAST = "fast"
    """A few seconds an order; some transactions are dropped and sent again."""
    REALISTIC = "realistic"
    """Slots of 400 ms and slow RPC: statuses last about as long as on a busy mainnet."""


class LogFormat(StrEnum):
    """How log lines are written."""

    CONSOLE = "console"
    JSON = "json"


Port = Annotated[int, Meta(ge=0, le=65535)]
Bps = Annotated[int, Meta(ge=0, le=10_000)]
Count = Annotated[int, Meta(ge=1)]
CountOrNone = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]

SECRETS = frozenset({"wallet_secret"})
_URLS = frozenset({"database_url", "redis_url", "cluster_url"})
"""May hold a password or a key; they are shown without."""

_NOT_SETTINGS = frozenset({"config", "url", "user", "traceback", "programs_dir", "pythons"})
"""BESTEX_* variables that mean something else: to the command line, to the tests."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set. Durations in seconds, amounts of slippage in basis points (100 = 1 %)."""

    # The server
    host: str = "127.0.0.1"
    port: Port = 8080
    body_limit_bytes: Count = 65_536
    stream_buffer_events: Count = 256
    """Events that one WebSocket may lag behind before it is closed; the client resumes by sequence number."""

    # Where things are kept
    data_dir: str = "data"
    """Holds `bestex.db` (orders) and `paper.db` (the paper cluster's ledger)."""
    database_url: str = ""
    """`postgresql://user:password@host/database`, several hosts with commas; empty: SQLite in `data_dir`."""
    database_retry_s: Seconds = 10.0
    """How long a request is tried again while PostgreSQL does not answer, before it is refused with 503."""
    retain_days: CountOrNone = 0
    """PostgreSQL: how long ended orders are kept, with all their events, from the day they were placed; 0: for ever."""
    redis_url: str = ""
    """`redis://host:6379`, for streams and limits across processes; empty: each process is by itself."""
    redis_prefix: str = "bestex:"
    """In front of every key: the deployment's name."""
    redis_timeout_s: Seconds = 1.0
    """Redis is gone when it does not answer for so long."""
    cluster_url: str = ""
    """A Solana RPC node, which must be `bestex paper`, `http://host:8899`; empty: a paper cluster in this process."""
    cluster_timeout_s: Seconds = 10.0
    """How long one call to the node may take."""
    cluster_connections: Count = 64
    """To the node at once, at most."""
    startup_s: Seconds = 30.0
    """How long a starting process waits for the node and the database."""

    # The engine
    concurrency: Count = 10
    """Orders that one worker has in work at once."""
    rate_per_minute: CountOrNone = 100
    """Orders begun in any 60 seconds over the whole deployment; 0 lifts the limit."""
    global_concurrency: CountOrNone = 0
    """Orders in work at once over all workers, while Redis is there; 0: each worker's own limit only."""
    slippage_bps: Bps = 50
    """Least out = quote less this, when the order does not say."""
    max_attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    """Tries per order at most; an order may ask for fewer."""
    retry_base_s: Seconds = 0.5
    """Wait before the first retry; doubles with each, plus jitter."""
    retry_max_s: Seconds = 30.0
    lease_s: Seconds = 30.0
    """After this time without a sign of life, another worker may take over an order."""
    poll_s: Seconds = 1.0
    """How often an idle worker looks for work without being woken."""
    reconcile_s: Seconds = 1.0
    """How often confirmed orders are looked at until they are final."""
    resend_s: Seconds = 2.0
    """How often the same signed bytes are sent again while they can land."""
    status_poll_s: Seconds = 0.5
    """How often a submitted transaction's status is asked for."""
    market_max_age_s: Seconds = 0.4
    """Pools older than this are read again before a quote."""
    shutdown_s: Seconds = 10.0
    """How long a stopping server waits for the orders in work before it hands them back."""

    # The priority fee
    priority_fee_percentile: Annotated[int, Meta(ge=0, le=100)] = 75
    priority_fee_max_micro_lamports: CountOrNone = 1_000_000
    """Most to pay per compute unit."""

    # The wallet
    wallet_secret: str = ""
    """Base58 secret key. Empty: a key of the paper market, worth nothing elsewhere."""

    # The paper cluster
    paper_port: Port = 8899
    """Where `bestex paper` serves JSON-RPC; its WebSocket is at the next port."""
    network: Network = Network.FAST
    paper_seed: int = 1
    """The paper market's reserves and traders are drawn from this."""
    paper_traders: bool = True
    """Background traders and arbitrageurs move the pools."""

    # Logs
    log_level: str = "info"
    log_format: LogFormat = LogFormat.CONSOLE

    @property
    def store_path(self) -> Path:
        return Path(self.data_dir) / "bestex.db"

    @property
    def ledger_path(self) -> Path:
        return Path(self.data_dir) / "paper.db"

    def __repr__(self) -> str:
        return f"Settings({self.public()})"

    def public(self) -> dict[str, Any]:
        """The effective settings with secrets hidden."""
        shown: dict[str, Any] = msgspec.to_builtins(self)
        return {name: _shown(name, value) for name, value in shown.items()}


def load(environ: Mapping[str, str], file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Defaults < TOML file < BESTEX_* variables < overrides. Raises ConfigError naming the setting."""
    values: dict[str, Any] = {}
    if file is not None:
        values |= _read_file(file)
    for name, text in environ.items():
        key = name.removeprefix("BESTEX_").lower()
        if name.startswith("BESTEX_") and key not in _NOT_SETTINGS:
            values[key] = text
    values |= {key: value for key, value in (overrides or {}).items() if value is not None}
    unknown = sorted(values.keys() - {field.name for field in msgspec.structs.fields(Settings)})
    if unknown:
        raise ConfigError(f"no setting is called {', '.join(unknown)}; `bestex config` lists them")
    return msgspec.structs.replace(Settings(), **{key: _convert(key, value) for key, value in values.items()})


def _shown(name: str, value: Any) -> Any:
    if name in SECRETS and value:
        return "(set)"
    if name in _URLS:
        parts = urlsplit(value)
        # RPC providers put their keys into the path or the query; a password may be in the query, too.
        path = "" if name == "cluster_url" else parts.path
        shown = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))
        return shown if shown in {value, value.rstrip("/")} else f"{shown} (partly hidden)"
    return value


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error


def _convert(key: str, value: object) -> object:
    field = next(field for field in msgspec.structs.fields(Settings) if field.name == key)
    try:
        return msgspec.convert(value, field.type, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"setting {key}: {error} (given: {'(hidden)' if key in SECRETS | _URLS else repr(value)})"
        ) from error
