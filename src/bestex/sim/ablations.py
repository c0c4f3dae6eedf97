"""Safeguards, taken out one at a time: what each of them is for is what breaks without it.

Every ablation puts a naive form in the place of a safeguard, as it is often written. The explorer must find that it is
wrong, and the check that breaks must be the one that is named here.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import apsw
import msgspec

from bestex.api.stream import _Stream
from bestex.api.stream_target import Close
from bestex.errors import Unavailable
from bestex.execution import engine as engine_module
from bestex.execution import narrate
from bestex.execution.engine import Engine
from bestex.execution.journal import Journal
from bestex.execution.landing import Dead, Landed, Landing, Outcome
from bestex.orders.attempt import Attempt
from bestex.orders.events import Event, encode_event
from bestex.orders.order import IdempotencyKeys, Order, OrderError
from bestex.ports import Acceptance
from bestex.routing.quote import Route
from bestex.sim.faults import Fault
from bestex.store import plan, session, starts
from bestex.store.database import connect_writer
from bestex.store.operations import Record
from bestex.store.sqlite import SqliteStore
from bestex.types import Commitment

Patches = Sequence[tuple[object, str, object]]
"""What is put in the place of which attribute of what."""


class Ablation(msgspec.Struct, frozen=True):
    """A safeguard, and how to take it out."""

    what: str
    """The naive form, in words."""
    patches: Callable[[], Patches]
    breaks: frozenset[str]
    """Checks of which at least one must break."""
    faults: frozenset[Fault]
    """The trouble in which it shows."""
    options: Mapping[str, Any] = {}
    """What else the world should be like."""
    within_seeds: int = 100

    def world(self, name: str) -> dict[str, Any]:
        """Options of the worlds in which the explorer looks for it."""
        return {"faults": self.faults, "intense": True, "without": name, **self.options}


@contextmanager
def ablated(name: str | None) -> Iterator[None]:
    """Take a safeguard out while the block runs; None takes none. Raises KeyError for an unknown name."""
    patches = ABLATIONS[name].patches() if name is not None else ()
    before = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in patches]
    for owner, attribute, naive in patches:
        setattr(owner, attribute, naive)
    try:
        yield
    finally:
        for owner, attribute, original in before:
            setattr(owner, attribute, original)


def _send_before_store() -> Patches:
    async def submit(self: Engine, journal: Journal, route: Route) -> Attempt:
        attempt, unit_limit = await self._signing.sign(journal, route)
        await self._cluster.send(attempt.transaction)
        await journal.write(narrate.submitted(attempt, unit_limit), attempt=attempt)
        return attempt

    return [(Engine, "_submit", submit)]


def _timeout_means_failed() -> Patches:
    land = Landing.land

    async def naive(self: Landing, attempt: Attempt) -> Outcome:
        try:
            await self._cluster.send(attempt.transaction)
        except Unavailable:
            return Dead(0, 0)
        return await land(self, attempt)

    return [(Landing, "land", naive)]


def _confirmed_means_final() -> Patches:
    land = Landing.land

    async def naive(self: Landing, attempt: Attempt) -> Outcome:
        outcome = await land(self, attempt)
        return Landed(outcome.transaction, finalized=True) if isinstance(outcome, Landed) else outcome

    return [(Landing, "land", naive)]


def _lagging_absence_is_proof() -> Patches:
    async def naive(self: Landing, attempt: Attempt) -> Outcome | None:
        height = await self._cluster.height(Commitment.FINALIZED)
        if height.block_height <= attempt.last_valid_block_height:
            return None
        answer = await self._cluster.statuses([attempt.signature], search_history=True)
        status = answer.statuses[0]
        return await self._outcome(attempt.signature, status) if status else Dead(height.block_height, answer.slot)

    return [(Landing, "_prove_dead", naive)]


def _no_fencing() -> Patches:
    record = plan.Plan.record

    def naive(self: plan.Plan, operation: Record) -> None:
        """The last one to write wins: what comes late is made to follow what is stored."""
        order = operation.change.order
        step, entry = self.steps.get(order.id), self._open_orders.get(order.id)
        stored = step.order if step else entry.order if entry else None
        late = stored is not None and (stored.lease_epoch, stored.seq) != (
            order.lease_epoch,
            order.seq - len(operation.events),
        )
        record(self, _rebased(operation, stored) if late and stored is not None else operation)

    return [(plan.Plan, "record", naive)]


def _rebased(operation: Record, stored: Order) -> Record:
    """The change as if it had been made to the stored order."""
    change, seq = operation.change, stored.seq
    events, committed = [], []
    for event, old in zip(change.events, operation.events, strict=True):
        seq += 1
        events.append(msgspec.structs.replace(event, seq=seq))
        committed.append(msgspec.structs.replace(old, seq=seq, payload=encode_event(events[-1])))
    order = msgspec.structs.replace(change.order, seq=seq, lease_epoch=stored.lease_epoch)
    operation.change = msgspec.structs.replace(change, order=order, events=tuple(events))
    operation.events = committed
    return operation


def _no_idempotency_key() -> Patches:
    accept = SqliteStore.accept

    async def naive(self: SqliteStore, order: Order, event: Event, keys: IdempotencyKeys) -> Acceptance:
        forgotten = msgspec.structs.replace(keys, client_order_id=None, header_key=None)
        return await accept(self, order, event, forgotten)

    return [(SqliteStore, "accept", naive)]


def _resign_before_death() -> Patches:
    land = Landing.land

    async def naive(self: Landing, attempt: Attempt) -> Outcome:
        try:
            async with asyncio.timeout(4.0):
                return await land(self, attempt)
        except TimeoutError:
            return Dead(0, 0)

    return [(Landing, "land", naive)]


def _synchronous_normal() -> Patches:
    connect = connect_writer

    def naive(path: Any, vfs: str | None) -> apsw.Connection:
        connection = connect(path, vfs)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    return [(session, "connect_writer", naive)]


def _retry_fatal_errors() -> Patches:
    def naive(order: Order, _error: OrderError) -> bool:
        return order.retries < order.terms.max_retries

    return [(engine_module, "may_retry", naive)]


def _rate_limit_in_memory() -> Patches:
    begin = starts.Starts.__init__

    def naive(self: starts.Starts, rows: Any = ()) -> None:
        for _ in rows:
            pass
        begin(self)

    return [(starts.Starts, "__init__", naive)]


def _stream_without_replay() -> Patches:
    async def naive(self: _Stream) -> Close | None:
        await self._front.store.order(self.order_id)
        return None

    async def take(self: _Stream, event: Any) -> Close | None:
        return await self._deliver(event)

    return [(_Stream, "_replay", naive), (_Stream, "_take", take)]


def _acknowledge_before_commit() -> Patches:
    accept = SqliteStore.accept

    async def naive(self: SqliteStore, order: Order, event: Event, keys: IdempotencyKeys) -> Acceptance:
        asyncio.get_running_loop().call_later(0.05, lambda: _later(accept(self, order, event, keys)))
        return Acceptance(order, True)

    return [(SqliteStore, "accept", naive)]


_writing: set[asyncio.Task[Any]] = set()


def _later(coroutine: Any) -> None:
    task = asyncio.get_running_loop().create_task(coroutine)
    _writing.add(task)
    task.add_done_callback(_written)


def _written(task: asyncio.Task[Any]) -> None:
    _writing.discard(task)
    if not task.cancelled():
        task.exception()  # whoever acknowledges before writing does not look


def _leases_never_end() -> Patches:
    async def naive(_self: Engine, _journal: Journal, _attempt: Attempt | None) -> None:
        await asyncio.get_running_loop().create_future()

    return [(Engine, "_take_over", naive)]


_WIRE = frozenset({Fault.LOST_ANSWER, Fault.LOST_REQUEST, Fault.LATE_ANSWER, Fault.LAGGING_NODE})
_CHAIN = frozenset({Fault.SKIPPED_SLOT, Fault.DROPPED_TRANSACTION, Fault.FORK})
_PROCESS = frozenset({Fault.KILL, Fault.POWER_CUT, Fault.FROZEN_WORKER})
_DOUBLE = frozenset({"at_most_one_fill_per_order", "attempts_are_stored_before_sent", "stored_fill_is_chain_truth"})
_BUSY = {"orders": 16, "concurrency": 10, "rate_per_minute": 100, "rage_s": 60.0}
"""Much in work whenever something goes wrong."""

ABLATIONS: Mapping[str, Ablation] = {
    "send_before_store": Ablation(
        "The transaction is sent, then written down.", _send_before_store, _DOUBLE, _PROCESS | _WIRE
    ),
    "timeout_means_failed": Ablation(
        "A send that nobody answered has failed, and the order is tried again.",
        _timeout_means_failed,
        _DOUBLE,
        _WIRE,
    ),
    "confirmed_means_final": Ablation(
        "A confirmed transaction is taken for final.", _confirmed_means_final, _DOUBLE, _CHAIN
    ),
    "lagging_absence_is_proof": Ablation(
        "A node that does not know the transaction is believed, however far behind it is.",
        _lagging_absence_is_proof,
        _DOUBLE,
        frozenset({Fault.LAGGING_NODE, Fault.FROZEN_WORKER}),
        {**_BUSY, "workers": 1},
    ),
    "no_fencing": Ablation(
        "A worker writes whether or not the order is still its own.",
        _no_fencing,
        _DOUBLE | {"orders_are_the_sum_of_their_events", "legal_edges", "retries_are_few_and_spaced"},
        frozenset({Fault.FROZEN_WORKER, Fault.LOST_ANSWER, Fault.LATE_ANSWER}),
        _BUSY,
    ),
    "no_idempotency_key": Ablation(
        "A repeated request makes another order.",
        _no_idempotency_key,
        frozenset({"accepted_orders_present", "at_most_one_fill_per_order"}),
        frozenset({Fault.CLIENT_RETRY, Fault.KILL}),
    ),
    "resign_before_death": Ablation(
        "After a few seconds without news a new transaction is signed.",
        _resign_before_death,
        _DOUBLE,
        _CHAIN | _WIRE,
    ),
    "synchronous_normal": Ablation(
        "SQLite does not wait for the disk at each commit.",
        _synchronous_normal,
        _DOUBLE | {"accepted_orders_present", "subscribers_saw_everything_once", "events_are_gap_free"},
        frozenset({Fault.POWER_CUT}),
    ),
    "retry_fatal_errors": Ablation(
        "Whatever failed is tried again.", _retry_fatal_errors, frozenset({"fatal_errors_end_the_order"}), _CHAIN
    ),
    "rate_limit_in_memory": Ablation(
        "Starts are counted in memory only.",
        _rate_limit_in_memory,
        frozenset({"limits_never_exceeded"}),
        frozenset({Fault.KILL}),
        {"rate_per_minute": 3, "orders": 8},
    ),
    "stream_without_replay": Ablation(
        "A socket gets what comes from now on.",
        _stream_without_replay,
        frozenset({"subscribers_saw_everything_once", "everything_ends"}),
        frozenset({Fault.CLIENT_DISCONNECT, Fault.LOST_BUS}),
    ),
    "acknowledge_before_commit": Ablation(
        "The order is acknowledged, then written.",
        _acknowledge_before_commit,
        frozenset({"accepted_orders_present", "answers_are_true"}),
        _PROCESS,
    ),
    "leases_never_end": Ablation(
        "Nobody goes on where another has stopped.",
        _leases_never_end,
        frozenset({"everything_ends", "nothing_stays_claimed"}),
        _PROCESS,
    ),
}
"""By name, as docs/guarantees.md has them."""
