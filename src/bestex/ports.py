"""Every way out of the process, on one page.

The engine reaches time, chance, disk, network and keys through these protocols only. `runtime` chooses who stands
behind each of them.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec
from solders.pubkey import Pubkey

from bestex.orders.attempt import Attempt
from bestex.orders.events import Event
from bestex.orders.order import IdempotencyKeys, Order
from bestex.orders.status import Status
from bestex.types import Account, BlockHeight, ChainClock, Commitment, OrderId, Signature, Slot


class Clock(Protocol):
    """Time."""

    def now_ms(self) -> int:
        """UTC, milliseconds since 1970. May step back."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since some moment; never steps back."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Entropy(Protocol):
    """Chance."""

    def bytes(self, count: int) -> bytes: ...

    def uniform(self, low: float, high: float) -> float: ...


class Signer(Protocol):
    """A key that signs transactions; the key itself never leaves it."""

    @property
    def pubkey(self) -> Pubkey: ...

    def sign(self, message: bytes) -> bytes:
        """The 64-byte ed25519 signature of a serialized transaction message."""
        ...


# --- the store: where truth lives -------------------------------------------------------------------------------------


class Acceptance(msgspec.Struct, frozen=True, gc=False):
    """The answer to `Store.accept`."""

    order: Order
    created: bool
    """False: the same request had created this order before."""


class Change(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One step of an order, to be written whole or not at all."""

    order: Order
    """The order after the events. Its `lease_epoch` must equal the stored one."""
    events: tuple[Event, ...]
    """In sequence; the first must follow the stored sequence number at once."""
    attempt: Attempt | None = None
    """Inserted, or updated by (order_id, number)."""
    release: bool = False
    """Give up the lease: any worker may claim the order at `order.due_at_ms`."""
    patient: bool = False
    """Nobody waits for it: it may be written some milliseconds later, together with what comes then."""


class RateLimit(msgspec.Struct, frozen=True, gc=False):
    """At most `count` orders are begun in any window of `window_ms`, over the whole deployment."""

    count: int
    window_ms: int


class Claim(msgspec.Struct, frozen=True, gc=False):
    """An order that is ours to work on until its lease ends."""

    order: Order
    attempt: Attempt | None
    """The latest attempt."""


class Claims(msgspec.Struct, frozen=True, gc=False):
    """The answer to `Store.claim`."""

    claims: list[Claim]
    next_due_ms: int | None
    """When the next order can be claimed, as far as known; None: when one is accepted."""


class OrderPage(msgspec.Struct, frozen=True, gc=False):
    """Orders, newest first, and the cursor of the next page."""

    orders: list[Order]
    next_cursor: str | None


class QueueStats(msgspec.Struct, frozen=True, gc=False):
    """How many orders are in which status, and since when the oldest waits."""

    by_status: Mapping[Status, int]
    waiting: int
    """Pending and due."""
    delayed: int
    """Pending, to be retried later."""
    in_work: int
    """Claimed under a lease that holds."""
    oldest_waiting_ms: int | None
    """UTC time at which the oldest waiting order was accepted."""
    started_in_window: int
    """Orders begun in the rate limit's window."""


class Committed(msgspec.Struct, frozen=True, gc=False):
    """An event that is on disk, as it goes to the bus."""

    order_id: OrderId
    seq: int
    status: Status
    final: bool
    """No event follows."""
    payload: bytes
    """The event as JSON."""
    order: Order | None = None
    """The order after this event: on the last event of a change that comes straight from a commit."""


class Store(Protocol):
    """Orders, events and attempts, durably. Raises StoreUnavailable when it cannot write or read.

    Writes that are asked for while a commit is under way go into the next commit together. Each awaits its own result.
    """

    async def open(self) -> None:
        """Open, migrate, and take over what an earlier process of the same deployment left claimed."""
        ...

    async def close(self) -> None: ...

    def on_commit(self, listener: Callable[[Sequence[Committed]], None]) -> None:
        """Call `listener` after each commit with the events that it made durable, in order.

        The last event of each change carries the order as the change left it.
        """
        ...

    async def accept(self, order: Order, event: Event, keys: IdempotencyKeys) -> Acceptance:
        """Store a new order and its first event, or find the one that the same keys had created.

        Raises IdempotencyMismatch (context `key`: `client_order_id` or `header_key`) when a key was used for a request
        with another hash.
        """
        ...

    async def claim(self, worker: str, *, limit: int, now_ms: int, lease_ms: int, rate: RateLimit | None) -> Claims:
        """Lease up to `limit` orders that are due: those already begun first, then by priority, then by age.

        Begun orders (routing, building, submitted) are claimable when their lease has ended and do not count against
        the rate limit; every claim of a pending order does. The lease's epoch grows by one.

        `worker` is a name that no other process uses: whoever closes a store gives up the leases of its workers.
        """
        ...

    async def claim_unfinal(self, worker: str, *, limit: int, now_ms: int, lease_ms: int) -> Claims:
        """Lease confirmed orders that are due and not finalized yet."""
        ...

    async def renew(self, worker: str, order_ids: Sequence[OrderId], *, lease_until_ms: int) -> None:
        """Prolong those of these orders' leases that this worker holds. A lease is never made shorter."""
        ...

    def record(self, change: Change) -> Awaitable[None]:
        """Write a change. Changes are written in the order of the calls, awaited or not.

        Raises StaleVersion when the epoch or the sequence number is not the stored one; nothing is written then.
        """
        ...

    async def order(self, order_id: OrderId) -> Order:
        """Raises OrderNotFound."""
        ...

    async def events(self, order_id: OrderId, from_seq: int = 1) -> list[Committed]:
        """An order's events from a sequence number on; empty when there are none, or no such order."""
        ...

    async def open_seqs(self, order_ids: Sequence[OrderId]) -> dict[OrderId, int]:
        """The last sequence numbers of those among these orders that are not terminal."""
        ...

    async def attempts(self, order_id: OrderId) -> list[Attempt]: ...

    async def orders(self, *, user_id: str | None, status: Status | None, cursor: str | None, limit: int) -> OrderPage:
        """Orders, newest first. Raises ValueError for a cursor that is not ours."""
        ...

    async def active(self, limit: int) -> list[Order]:
        """Orders that are not terminal, oldest first."""
        ...

    async def stats(self, now_ms: int, window_ms: int) -> QueueStats: ...

    async def ping(self) -> None:
        """Raise StoreUnavailable unless the store can be written to."""
        ...


# --- the bus: what may be lost ----------------------------------------------------------------------------------------


class Subscription(Protocol):
    """The events of one order as they are committed, from the moment of subscribing or from the first; bounded."""

    overflowed: bool
    """The reader was too slow and events were dropped: read the store by sequence number."""
    lost: bool
    """Events may have been lost on their way, by no fault of the reader: subscribe again, then read the store."""
    whole: bool
    """It begins with the order's first event, and all that the bus has brought since are in it."""

    async def next(self) -> Committed | None:
        """The next event; None when the subscription is closed, or has overflowed or lost events and is drained."""
        ...

    def close(self) -> None: ...


class Bus(Protocol):
    """Wake-ups, status fan-out, the active orders. Everything on it may be lost at any moment."""

    def publish(self, events: Sequence[Committed]) -> None: ...

    def subscribe(self, order_id: OrderId) -> Subscription: ...

    async def active(self, limit: int) -> list[Order] | None:
        """Orders that are not terminal, oldest first; None: the bus does not know them all, ask the store."""
        ...

    def wake(self) -> None:
        """Tell idle workers that there may be work."""
        ...

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return at a wake-up since the last call, or after the timeout."""
        ...

    def close(self) -> None:
        """End all subscriptions: whoever reads one learns that the process stops."""
        ...


class Grant(msgspec.Struct, frozen=True, gc=False):
    """How many orders may be begun now."""

    name: str
    """To give back what was not used."""
    granted: int
    wait_ms: int
    """When there may be room for more; 0: all that was asked for is granted."""


class Limits(Protocol):
    """What the whole deployment has in common beside its store. All of it are hints that may be missing: None.

    For the rate the store's own count decides (see `Store.claim`); asking here first spares it questions whose answer
    is no. The global concurrency is counted here only: without an answer, each worker has its own limit and no other.
    """

    async def begin(self, wanted: int, rate: RateLimit) -> Grant | None:
        """Count up to `wanted` orders as begun."""
        ...

    async def give_back(self, grant: Grant, unused: int) -> None:
        """These many of the granted orders were not begun."""
        ...

    async def hold(self, in_use: Sequence[str], new: Sequence[str], *, limit: int, lease_ms: int) -> list[str] | None:
        """Prolong the slots in use, and take one for each of the new names as long as fewer than `limit` are taken.

        Answers the new names that have one. Those in use count even where they had been forgotten.
        """
        ...

    async def release(self, names: Sequence[str]) -> None:
        """Free the slots under these names."""
        ...


# --- the cluster: a Solana network, real or paper ---------------------------------------------------------------------


class Blockhash(msgspec.Struct, frozen=True, gc=False):
    """A recent blockhash and the last block height at which a transaction with it can land."""

    blockhash: str
    last_valid_block_height: BlockHeight
    slot: Slot


class Height(msgspec.Struct, frozen=True, gc=False):
    """A node's own block height at some commitment, and the slot of that block."""

    block_height: BlockHeight
    slot: Slot


class AccountsAt(msgspec.Struct, frozen=True, gc=False):
    """Accounts in the order asked for, None where there is none, as of one slot of one node."""

    slot: Slot
    clock: ChainClock
    accounts: list[Account | None]


class TransactionError(msgspec.Struct, frozen=True, gc=False):
    """Why a transaction failed in execution, in the runtime's own terms."""

    name: str
    """`InstructionError`, `BlockhashNotFound`, `InsufficientFundsForFee`, `AlreadyProcessed`..."""
    instruction_index: int | None = None
    custom_code: int | None = None
    """The program's own error number."""
    program_id: str | None = None
    message: str = ""


class Simulation(msgspec.Struct, frozen=True, gc=False):
    """What a transaction would do now."""

    slot: Slot
    error: TransactionError | None
    units_consumed: int
    logs: list[str]


class SignatureStatus(msgspec.Struct, frozen=True, gc=False):
    """Where a transaction stands."""

    slot: Slot
    commitment: Commitment
    error: TransactionError | None


class StatusesAt(msgspec.Struct, frozen=True, gc=False):
    """Statuses in the order asked for, None where the node knows of none, as of the node's own slot."""

    slot: Slot
    statuses: list[SignatureStatus | None]


class TokenChange(msgspec.Struct, frozen=True, gc=False):
    """A token account's balance before and after a transaction; base units."""

    account: Pubkey
    mint: Pubkey
    owner: Pubkey
    before: int
    after: int


class LandedTransaction(msgspec.Struct, frozen=True, gc=False):
    """A transaction as the ledger holds it."""

    signature: Signature
    slot: Slot
    error: TransactionError | None
    fee_lamports: int
    units_consumed: int
    token_changes: list[TokenChange]
    lamport_changes: Mapping[Pubkey, int]
    """After minus before, fee included, of every account that changed."""
    logs: list[str]


class Cluster(Protocol):
    """A Solana cluster. Raises ClusterUnavailable when no answer comes, RateLimited when the node says so.

    An exception from `send` says nothing about whether the transaction will land.
    """

    @property
    def simulated(self) -> bool:
        """Whether this is a paper cluster: everything it says is simulated."""
        ...

    async def latest_blockhash(self, commitment: Commitment) -> Blockhash: ...

    async def height(self, commitment: Commitment) -> Height: ...

    async def oldest_block(self) -> Height:
        """The first block that a search of the node's history reaches; of height 0 where it reaches all."""
        ...

    async def accounts(self, addresses: Sequence[Pubkey], commitment: Commitment) -> AccountsAt: ...

    async def priority_fees(self, writable: Sequence[Pubkey]) -> list[int]:
        """Recent priority fees paid to lock these accounts, micro-lamports per compute unit."""
        ...

    async def simulate(self, transaction: bytes) -> Simulation:
        """Run a transaction without its signatures being checked, with the blockhash replaced by a recent one."""
        ...

    async def send(self, transaction: bytes) -> None:
        """Hand over signed bytes once, without preflight."""
        ...

    async def statuses(self, signatures: Sequence[Signature], *, search_history: bool) -> StatusesAt:
        """At most 256 at once."""
        ...

    async def transaction(self, signature: Signature) -> LandedTransaction | None:
        """The transaction at `confirmed`; None when this node does not have it."""
        ...

    async def wait_landing(self, signature: Signature, timeout_s: float) -> None:
        """Return when the transaction is seen in a block, or after the timeout. A hint: it may never come."""
        ...
