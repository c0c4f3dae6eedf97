"""What a run leaves behind: the database, the chain, what clients were told, what was seen at the ports.

Nothing here comes from the engine's memory. Orders, events and attempts are read from the SQLite file on a connection
of its own (from PostgreSQL: pg_evidence.py), money from the chain.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import apsw
import msgspec
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature as WireSignature

from bestex.config import Settings
from bestex.errors import UnsupportedPool
from bestex.orders.attempt import Attempt, AttemptState
from bestex.orders.events import Event, decode_event
from bestex.orders.order import Order
from bestex.paper.cluster import PaperCluster
from bestex.ports import LandedTransaction, QueueStats
from bestex.sim.observed import Begun, InWork
from bestex.sim.record import ClientRecord
from bestex.store.database import connect_reader
from bestex.types import Account, Commitment, Mint, OrderId, Slot
from bestex.venues.token import NATIVE_MINT, TOKEN_2022_PROGRAM, TOKEN_PROGRAM, decode_token_account

_MEMO = re.compile(r'Memo \(len \d+\): "bestex:([0-9a-f-]{36}):(\d+)"')
_TOKEN_PROGRAMS = (TOKEN_PROGRAM, TOKEN_2022_PROGRAM)

Rows: TypeAlias = Callable[[str], Iterable[Any]]
"""Runs a statement."""


class StoredEvent(msgspec.Struct, frozen=True):
    """An event as it lies in the database."""

    seq: int
    """By its row's key."""
    payload: bytes
    event: Event


class Holding(msgspec.Struct, frozen=True):
    """A token account."""

    mint: Mint
    owner: Pubkey
    amount: int
    lamports: int


class Balances(msgspec.Struct, frozen=True):
    """Everything that everybody has on the chain at one moment."""

    lamports: Mapping[Pubkey, int]
    holdings: Mapping[Pubkey, Holding]

    @classmethod
    def of(cls, accounts: Mapping[Pubkey, Account]) -> "Balances":
        """Of all accounts of a chain, as in `validator.chain.state.accounts`."""
        holdings = {}
        for address, account in accounts.items():
            if account.owner in _TOKEN_PROGRAMS:
                try:
                    held = decode_token_account(account)
                except UnsupportedPool:  # a mint
                    continue
                holdings[address] = Holding(held.mint, held.owner, held.amount, account.lamports)
        return cls({address: account.lamports for address, account in accounts.items()}, holdings)

    def of_wallet(self, wallet: Pubkey) -> dict[Mint, int]:
        """What a wallet has of each token; of SOL: its lamports, and those that its token accounts hold as rent."""
        totals = {NATIVE_MINT: self.lamports.get(wallet, 0)}
        for held in self.holdings.values():
            if held.owner != wallet:
                continue
            totals[NATIVE_MINT] += held.lamports
            if held.mint != NATIVE_MINT:
                totals[held.mint] = totals.get(held.mint, 0) + held.amount
        return totals

    def of_all(self) -> dict[Mint, int]:
        """What there is of each token but wrapped SOL, which comes and goes with each wrapping."""
        totals: dict[Mint, int] = {}
        for held in self.holdings.values():
            if held.mint != NATIVE_MINT:
                totals[held.mint] = totals.get(held.mint, 0) + held.amount
        return totals


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine was told not to exceed."""

    concurrency: int
    rate_per_minute: int
    """0: no limit."""
    max_attempts: int
    retry_base_s: float
    retry_max_s: float
    end_within_ms: int
    """Virtual time from the world's healing to the end of every order."""

    @classmethod
    def of(cls, settings: Settings, end_within_ms: int) -> "Limits":
        return cls(
            concurrency=settings.concurrency,
            rate_per_minute=settings.rate_per_minute,
            max_attempts=settings.max_attempts,
            retry_base_s=settings.retry_base_s,
            retry_max_s=settings.retry_max_s,
            end_within_ms=end_within_ms,
        )


class Stored(msgspec.Struct, frozen=True):
    """What the database holds."""

    orders: dict[OrderId, Order]
    events: dict[OrderId, list[StoredEvent]]
    attempts: dict[OrderId, list[Attempt]]
    keys: dict[tuple[str, str, str], OrderId]
    """Idempotency keys: account, kind and key."""
    rows: dict[OrderId, tuple[str, int, bool]]
    """Status, sequence number and `ended` as the columns that are searched say them."""
    counts: dict[str, int]
    """Orders in each status, as they are kept count of."""
    damage: list[str]
    """What is wrong with the database itself: of SQLite, what it finds wrong with the file."""


class OnChain(msgspec.Struct, frozen=True):
    """What the chain says."""

    history: list[LandedTransaction]
    """Every transaction on it, oldest first; what a fork has dropped is not there."""
    finalized_slot: Slot
    begin: Balances
    """At genesis, before the first transaction."""
    end: Balances
    """After the last transaction of `history`."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the world saw at the ports, and what it did."""

    wallet: Pubkey
    limits: Limits
    record: ClientRecord
    begun: list[Begun]
    """Claims of pending orders, as seen at the store port."""
    in_work: list[InWork]
    logs: list[str]
    secrets: list[str]
    """Texts that must appear nowhere: see `secret_forms`."""
    queue: QueueStats | None = None
    """The store's own view of its queue at the end; None: no process is alive, and leases died with the last one."""
    healed_at_ms: int
    """Virtual time, as `ended_at_ms`."""
    ended_at_ms: int
    set_back_ms: int = 0
    """By how much the wall clock was set back in all: an event's time may lie that much before an earlier one's."""
    streams_had_time: bool = False
    """Whether every subscriber was given the time to see its order's last event."""


class Evidence(msgspec.Struct, frozen=True):
    """See the module."""

    stored: Stored
    chain: OnChain
    seen: Seen


class Ours(msgspec.Struct, frozen=True):
    """A transaction of the engine on the chain, with what its memo says."""

    order_id: OrderId
    attempt: int
    landed: LandedTransaction

    @property
    def succeeded(self) -> bool:
        return self.landed.error is None


async def collect(database: Path, vfs: str | None, cluster: PaperCluster, begin: Balances, seen: Seen) -> Evidence:
    """Read the database and the chain.

    `begin`: `Balances.of` all accounts at genesis. The chain must stand still meanwhile, or run its ledger in place.
    """
    return Evidence(read_database(database, vfs), await read_chain(cluster, begin), seen)


async def read_chain(cluster: PaperCluster, begin: Balances) -> OnChain:
    """As `collect` does."""
    history = await cluster.history()
    chain = cluster.validator.chain
    return OnChain(history, chain.reached(Commitment.FINALIZED).slot, begin, Balances.of(chain.state.accounts))


def read_database(path: Path, vfs: str | None = None) -> Stored:
    """All that the store has written, read with plain SQL; the file stays as it is. Raises StoreUnavailable."""
    connection = connect_reader(path, vfs)
    try:
        # Whoever closes last would otherwise empty the log into the database.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.execute("BEGIN")
        return _read(connection.execute)
    finally:
        connection.close()


class _Ids(dict[int, OrderId]):
    """Orders' ids by their numbers. A number without an order is damage."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    def __missing__(self, number: int) -> OrderId:
        stored, name = self._stored, OrderId(f"number {number}")
        stored.damage.append(f"rows belong to order number {number}, which is not there")
        stored.events[name], stored.attempts[name] = [], []
        self[number] = name
        return name


def _read(rows: Rows) -> Stored:
    stored = Stored({}, {}, {}, {}, {}, {}, [])
    ids = _Ids(stored)
    for number, order_id, status, seq, ended, document in rows(
        "SELECT number, id, status, seq, ended, document FROM orders ORDER BY number"
    ):
        ids[number] = order_id
        stored.orders[order_id] = msgspec.json.decode(document, type=Order)
        stored.rows[order_id] = status, seq, bool(ended)
        stored.events[order_id], stored.attempts[order_id] = [], []
    for number, seq, payload in rows("SELECT order_number, seq, payload FROM order_events ORDER BY 1, 2"):
        data = payload.encode()
        stored.events[ids[number]].append(StoredEvent(seq, data, decode_event(data)))
    for number, state, slot, error, document in rows(
        "SELECT order_number, state, slot, error, document FROM attempts ORDER BY order_number, number"
    ):
        first = msgspec.json.decode(document, type=Attempt)
        attempt = msgspec.structs.replace(first, state=AttemptState(state), slot=slot, error=error)
        stored.attempts[ids[number]].append(attempt)
    for account, kind, key, number in rows("SELECT account, kind, key, order_number FROM idempotency_keys"):
        stored.keys[account, kind, key] = ids[number]
    stored.counts.update(rows("SELECT status, orders FROM status_counts"))
    stored.damage.extend(text for (text,) in rows("PRAGMA integrity_check") if text != "ok")
    return stored


def ours(evidence: Evidence) -> Iterator[Ours]:
    """The transactions that carry one of our memos, oldest first."""
    for landed in evidence.chain.history:
        for line in landed.logs:
            if memo := _MEMO.search(line):
                yield Ours(OrderId(memo[1]), int(memo[2]), landed)
                break


def paid_by_pools(landed: LandedTransaction, wallet: Pubkey) -> dict[Mint, int]:
    """What everybody else's token accounts lost to the wallet, by mint; negative: gained from it.

    The mirror image of what the wallet got, read from the other side. Mints without transfer fees only.
    """
    lost: dict[Mint, int] = {}
    for change in landed.token_changes:
        if change.owner != wallet:
            lost[change.mint] = lost.get(change.mint, 0) + change.before - change.after
    return lost


def is_signed_by(attempt: Attempt, wallet: Pubkey) -> bool:
    """Whether the stored bytes are a transaction of one signer that has the attempt's signature over its message."""
    signature, message = attempt.transaction[1:65], attempt.transaction[65:]
    try:
        crypto_sign_open(signature + message, bytes(wallet))
    except BadSignatureError:
        return False
    return str(WireSignature(signature)) == attempt.signature


def secret_forms(keypair: Keypair) -> list[str]:
    """How a secret key can be written: the whole of it, and its 32-byte seed, in base58, base64, hex, and as JSON."""
    forms = [str(keypair)]
    for secret in (bytes(keypair), keypair.secret()):
        forms += [secret.hex(), b64encode(secret).decode().rstrip("="), repr(secret)]
        forms += _joined(secret)
    return [*forms, str(Pubkey(keypair.secret()))]


def _joined(secret: Iterable[int]) -> list[str]:
    numbers = [str(byte) for byte in secret]
    return [",".join(numbers), ", ".join(numbers)]
