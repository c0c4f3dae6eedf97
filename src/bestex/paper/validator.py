"""The validator: takes transactions in, makes a block a slot, makes it durable, and only then shows it."""

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from hashlib import sha256
from typing import Any, TypeVar

import apsw
import msgspec
from solders.pubkey import Pubkey

from bestex.errors import ClusterUnavailable
from bestex.paper import bank
from bestex.paper.chain import Chain, Commit, Landing
from bestex.paper.envelope import Envelope
from bestex.paper.fees import FeeHistory
from bestex.paper.ledger import Contents, Found, Ledger, Snapshot, Stored
from bestex.paper.network import NetworkProfile
from bestex.paper.records import TransactionRecord, pack_record, pack_writes, unpack_writes
from bestex.paper.running import Runner
from bestex.paper.state import Overlay, State
from bestex.paper.traders import Traders
from bestex.ports import Clock, Entropy, Simulation
from bestex.types import Account, Commitment, Signature

T = TypeVar("T")

_LATEST_RECORDS = 2_048


class Validator:
    """One node that is every leader in turn. `begin` or `resume` first; then `run`, or `tick` by hand, makes blocks."""

    chain: Chain

    def __init__(
        self,
        *,
        profile: NetworkProfile,
        clock: Clock,
        entropy: Entropy,
        ledger: Ledger,
        runner: Runner,
        on_landed: Callable[[Sequence[Signature]], None],
    ) -> None:
        self._profile = profile
        self._clock = clock
        self._entropy = entropy
        self._ledger = ledger
        self._runner = runner
        self._on_landed = on_landed
        self._pending: dict[Signature, Envelope] = {}
        self._forkable: dict[int, list[Envelope]] = {}
        """Landed transactions by the commit that holds them, until it is finalized."""
        self._latest: OrderedDict[Signature, Found] = OrderedDict()
        """What has just landed is asked for at once: these need no disk."""
        self._arrived = asyncio.Event()
        self._producing = asyncio.Lock()
        self._failure: Exception | None = None
        self._slot = 0
        """The last slot that is over."""
        self._next_seq = 0
        self.fees = FeeHistory()
        self.traders: Traders | None = None

    async def begin(self, listing: bytes, accounts: dict[Pubkey, Account]) -> None:
        """Start a new chain with these accounts."""
        now_ms = self._clock.now_ms()
        first = Commit(seq=0, slot=1, height=1, time_ms=now_ms, hash=sha256(listing).digest(), closes=True)
        await self._runner.run(lambda: self._ledger.begin(listing, accounts, first))
        self._start(Chain(self._profile, State(dict(accounts)), first))

    def resume(self, contents: Contents) -> None:
        """Go on with a chain that was on disk."""
        first, *rest = contents.commits
        state = State(dict(contents.accounts))
        state.absorb(_restored(first, state))
        chain = Chain(self._profile, state, first.commit, _landings(first.commit, first.records))
        for stored in rest:
            chain.publish(stored.commit, _restored(stored, state), _landings(stored.commit, stored.records))
        chain.finalize(contents.finalized_seq)
        self._start(chain)

    async def amend(self, accounts: dict[Pubkey, Account]) -> None:
        """Put accounts into the chain from outside, in a block of their own."""
        overlay = Overlay(self.chain.state)
        overlay.writes.update(accounts)
        self._slot += 1
        async with self._producing:
            await self._commit(self._next(closes=True), overlay, [])

    async def run(self) -> None:
        """Make blocks until canceled. Raises ClusterUnavailable when the ledger fails: nothing works from then on."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._run_slots())
                if self._profile.commits_within_slot:
                    tasks.create_task(self._run_commits())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def tick(self) -> None:
        """Let one slot pass: with a block or, now and then, without."""
        self._slot += 1
        if self._happens(self._profile.fork_probability):
            await self.fork(1 + int(self._entropy.uniform(0, self._profile.fork_depth_blocks)), keep_pending=True)
        if self.chain.head.closes and self._happens(self._profile.skip_probability):
            return
        await self._whole(self._produce(closes=True))

    async def fork(self, depth_blocks: int, *, keep_pending: bool = False) -> int:
        """Drop up to so many of the latest blocks, never finalized ones; returns how many were dropped.

        Their transactions are unknown again. `keep_pending`: they wait for another block instead of being lost.
        """
        return await self._whole(self._fork(depth_blocks, keep_pending))

    def submit(self, envelope: Envelope) -> None:
        """Take a transaction from the network; silent, whatever becomes of it. Raises ClusterUnavailable."""
        self.check()
        if envelope.signature in self._pending or self.chain.landing(envelope.signature) is not None:
            return
        if self._happens(self._profile.drop_probability) or not envelope.is_signed():
            return
        self._pending[envelope.signature] = envelope
        self._arrived.set()

    def simulate(self, envelope: Envelope) -> Simulation:
        """Run a transaction on the newest accounts; nothing comes of it. Raises ClusterUnavailable."""
        self.check()
        head, state = self.chain.head, self.chain.state
        error = bank.refusal(envelope, state)
        if error is not None:
            return Simulation(head.slot, error, 0, [])
        overlay = Overlay(state)
        bank.charge(envelope, overlay)
        trial = bank.run(envelope, overlay, head.clock)
        return Simulation(head.slot, trial.error, trial.units_consumed, trial.logs)

    async def find(self, signature: Signature, commitment: Commitment) -> Found | None:
        """A transaction of any age that has reached a commitment. Raises ClusterUnavailable."""
        self.check()
        found = self._latest.get(signature)
        if found is None:
            found = await self._runner.run(lambda: self._ledger.find(signature))
        # The disk is ahead of the chain while a commit is under way.
        return found if found and found.seq <= self.chain.reached(commitment).seq else None

    async def history(self) -> list[Found]:
        """Every transaction that has landed, oldest first."""
        return await self._runner.run(self._ledger.history)

    def check(self) -> None:
        """Raise ClusterUnavailable once the ledger has failed."""
        if self._failure is not None:
            raise ClusterUnavailable(f"the paper ledger failed: {self._failure}") from self._failure

    def _start(self, chain: Chain) -> None:
        self.chain = chain
        self._slot = chain.head.slot if chain.head.closes else chain.head.slot - 1
        self._next_seq = chain.head.seq + 1

    async def _run_slots(self) -> None:
        next_at_s = self._clock.monotonic_s() + self._profile.slot_s
        while True:
            await self._clock.sleep(max(0.0, next_at_s - self._clock.monotonic_s()))
            await self.tick()
            # After a long pause slots go on from now: nobody wants them all at once.
            next_at_s = max(next_at_s + self._profile.slot_s, self._clock.monotonic_s())

    async def _run_commits(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await self._whole(self._produce(closes=False))

    async def _produce(self, *, closes: bool) -> None:
        async with self._producing:
            self.check()
            commit = self._next(closes=closes)
            overlay = Overlay(self.chain.state)
            if closes and self.traders is not None:
                for locked in self.traders.act(overlay, commit.clock, commit.height):
                    self.fees.record(commit.height, locked.price_micro_lamports, locked.addresses)
            landed = self._execute(overlay, commit)
            if closes or landed:
                await self._commit(commit, overlay, landed)
            if self._pending:
                self._arrived.set()

    def _next(self, *, closes: bool) -> Commit:
        """The commit that follows the head, its hash still to be made."""
        head = self.chain.head
        return Commit(
            seq=self._next_seq,
            slot=self._slot if closes else self._slot + 1,
            height=head.height + head.closes,
            time_ms=max(head.time_ms, self._clock.now_ms()),
            hash=head.hash,
            closes=closes,
        )

    def _execute(self, overlay: Overlay, commit: Commit) -> list[tuple[Envelope, TransactionRecord]]:
        """Run what is waiting, best paid first. What can never land is forgotten."""
        chain, profile = self.chain, self._profile
        clock = commit.clock
        landed = []
        for envelope in self._best_paid():
            if not self._happens(profile.inclusion_probability):
                continue
            expired = not chain.accepts(envelope.blockhash, commit.height)
            if expired or chain.landing(envelope.signature) is not None or bank.refusal(envelope, overlay) is not None:
                del self._pending[envelope.signature]
                continue
            landed.append((envelope, bank.execute(envelope, overlay, clock)))
            self.fees.record(commit.height, envelope.budget.price_micro_lamports, envelope.writable)
        return landed

    def _best_paid(self) -> list[Envelope]:
        limit = self._profile.max_transactions
        if len(self._pending) <= limit:
            return list(self._pending.values())
        return heapq.nlargest(limit, self._pending.values(), key=lambda envelope: envelope.budget.price_micro_lamports)

    async def _commit(
        self, commit: Commit, overlay: Overlay, landed: Sequence[tuple[Envelope, TransactionRecord]]
    ) -> None:
        """Make a commit durable, then visible."""
        chain, ledger = self.chain, self._ledger
        signatures = [record.signature for _, record in landed]
        commit = msgspec.structs.replace(commit, hash=_chained(commit, signatures))
        packed = [(record.signature, pack_record(record)) for _, record in landed]
        snapshot = self._snapshot() if ledger.wants_snapshot else None

        def write() -> None:
            ledger.append(commit, packed, pack_writes(overlay.writes, chain.state.accounts), snapshot)

        await self._durably(write)
        self._next_seq = commit.seq + 1
        chain.publish(commit, overlay, _landings(commit, (record for _, record in landed)))
        for _, record in landed:
            self._pending.pop(record.signature, None)
            self._latest[record.signature] = Found(commit.seq, commit.slot, commit.time_ms, record)
        while len(self._latest) > _LATEST_RECORDS:
            self._latest.popitem(last=False)
        self._remember_forkable(commit.seq, [envelope for envelope, _ in landed])
        self._on_landed(signatures)

    def _remember_forkable(self, seq: int, envelopes: list[Envelope]) -> None:
        if envelopes:
            self._forkable[seq] = envelopes
        finalized = self.chain.reached(Commitment.FINALIZED).seq
        while self._forkable and (oldest := next(iter(self._forkable))) <= finalized:
            del self._forkable[oldest]

    def _snapshot(self) -> Snapshot:
        chain = self.chain
        return Snapshot(chain.reached(Commitment.FINALIZED).seq, chain.finalized_accounts(), chain.oldest.seq)

    async def _fork(self, depth_blocks: int, keep_pending: bool) -> int:
        async with self._producing:
            dropped = self.chain.branch(depth_blocks)
            if not dropped:
                return 0
            first_seq = dropped[0].seq
            finalized_seq = self.chain.reached(Commitment.FINALIZED).seq
            await self._durably(lambda: self._ledger.drop(first_seq, finalized_seq=finalized_seq))
            self.chain.drop(first_seq)
            for commit in dropped:
                for envelope in self._forkable.pop(commit.seq, ()):
                    self._latest.pop(envelope.signature, None)
                    if keep_pending:
                        self._pending[envelope.signature] = envelope
            return len({commit.height for commit in dropped})

    async def _durably(self, write: Callable[[], None]) -> None:
        try:
            await self._runner.run(write)
        except (apsw.Error, OSError) as error:
            # Whether the disk has it is unknown now, and only a new process that reads the ledger can tell.
            self._failure = error
            self.check()

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work` to its end even when canceled meanwhile."""
        return await (work if self._runner.in_place else _uninterrupted(work))

    def _happens(self, probability: float) -> bool:
        if probability in (0.0, 1.0):
            return probability == 1.0
        return self._entropy.uniform(0.0, 1.0) < probability


def _restored(stored: Stored, state: State) -> Overlay:
    overlay = Overlay(state)
    if stored.changes is not None:
        overlay.writes.update(unpack_writes(stored.changes, state.accounts))
    return overlay


def _landings(commit: Commit, records: Iterable[TransactionRecord]) -> list[tuple[Signature, Landing]]:
    succeeded = Landing(commit.seq, commit.slot, None)
    return [
        (record.signature, Landing(commit.seq, commit.slot, record.error) if record.error else succeeded)
        for record in records
    ]


def _chained(commit: Commit, signatures: Sequence[Signature]) -> bytes:
    """The hash of the chain up to this commit; `commit.hash` is that of the one before."""
    fields = f"{commit.seq},{commit.slot},{commit.height},{commit.time_ms},{commit.closes}"
    return sha256(
        b"\0".join([commit.hash, fields.encode(), *(signature.encode() for signature in signatures)])
    ).digest()


async def _uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end even when canceled meanwhile: disk and memory must not part."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
