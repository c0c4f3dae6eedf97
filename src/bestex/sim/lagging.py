"""A node that is behind the others: to it, the chain is what it was some slots ago.

It never knows anything newer than its own slot, in any answer. Blocks that a fork has undone since are its chain still.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from solders.pubkey import Pubkey

from bestex.paper import bank
from bestex.paper.chain import Commit, Landing
from bestex.paper.envelope import open_envelope
from bestex.paper.fees import FeeHistory
from bestex.paper.ledger import Found
from bestex.paper.state import Overlay, State
from bestex.paper.validator import Validator
from bestex.ports import AccountsAt, Blockhash, Height, LandedTransaction, SignatureStatus, Simulation, StatusesAt
from bestex.types import Account, Commitment, Signature


class Node(Protocol):
    """What can be read from a node: see `bestex.ports.Cluster`."""

    async def latest_blockhash(self, commitment: Commitment) -> Blockhash: ...

    async def height(self, commitment: Commitment) -> Height: ...

    async def oldest_block(self) -> Height: ...

    async def accounts(self, addresses: Sequence[Pubkey], commitment: Commitment) -> AccountsAt: ...

    async def priority_fees(self, writable: Sequence[Pubkey]) -> list[int]: ...

    async def simulate(self, transaction: bytes) -> Simulation: ...

    async def statuses(self, signatures: Sequence[Signature], *, search_history: bool) -> StatusesAt: ...

    async def transaction(self, signature: Signature) -> LandedTransaction | None: ...


class Fees(FeeHistory):
    """Fees that can be kept as they are."""

    def copy(self) -> FeeHistory:
        kept = Fees()
        kept._blocks = self._blocks.copy()
        return kept


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A block, and everything after it."""

    commit: Commit
    blockhash: Blockhash
    accounts: dict[Pubkey, Account]


class Moment(msgspec.Struct, frozen=True, gc=False):
    """The chain as it was after a slot."""

    slots: int
    """How many had passed."""
    reached: Mapping[Commitment, Kept]
    """The newest block of each commitment."""
    fees: FeeHistory

    @property
    def head(self) -> Commit:
        return self.reached[Commitment.PROCESSED].commit


class Undone(msgspec.Struct, frozen=True):
    """A transaction that a fork took off the chain."""

    in_slot: int
    """How many had passed then, this one included."""
    found: Found


class NodeBehind:
    """The node to which that moment is now."""

    def __init__(self, validator: Validator, undone: Mapping[Signature, Sequence[Undone]], moment: Moment) -> None:
        """`undone` is everything that forks have taken off the validator's chain."""
        self._validator = validator
        self._undone = undone
        self._moment = moment

    async def latest_blockhash(self, commitment: Commitment) -> Blockhash:
        return self._moment.reached[commitment].blockhash

    async def height(self, commitment: Commitment) -> Height:
        commit = self._moment.reached[commitment].commit
        return Height(commit.height, commit.slot)

    async def oldest_block(self) -> Height:
        return Height(0, 0)

    async def accounts(self, addresses: Sequence[Pubkey], commitment: Commitment) -> AccountsAt:
        kept = self._moment.reached[commitment]
        accounts = [kept.accounts.get(address) for address in addresses]
        return AccountsAt(kept.commit.slot, kept.commit.clock, accounts)

    async def priority_fees(self, writable: Sequence[Pubkey]) -> list[int]:
        return self._moment.fees.recent(writable)

    async def simulate(self, transaction: bytes) -> Simulation:
        envelope, head = open_envelope(transaction), self._moment.head
        state = State(self._moment.reached[Commitment.PROCESSED].accounts)
        # Decoded pools can be shared: they are used only for the very accounts that they were decoded from.
        state.pools.update(self._validator.chain.state.pools)
        error = bank.refusal(envelope, state)
        if error is not None:
            return Simulation(head.slot, error, 0, [])
        overlay = Overlay(state)
        bank.charge(envelope, overlay)
        trial = bank.run(envelope, overlay, head.clock)
        return Simulation(head.slot, trial.error, trial.units_consumed, trial.logs)

    async def statuses(self, signatures: Sequence[Signature], *, search_history: bool) -> StatusesAt:
        found = [await self._status(signature, search_history) for signature in signatures]
        return StatusesAt(self._moment.head.slot, found)

    async def transaction(self, signature: Signature) -> LandedTransaction | None:
        found = self._undone_since(signature) or await self._on_chain(signature)
        if found is None or found.seq > self._moment.reached[Commitment.CONFIRMED].commit.seq:
            return None
        return found.record.landed(found.slot)

    async def _status(self, signature: Signature, search_history: bool) -> SignatureStatus | None:
        found = self._undone_since(signature)
        landing = _landing(found) if found else self._validator.chain.landing(signature)
        if landing is None and search_history:
            found = await self._on_chain(signature)
            landing = _landing(found) if found else None
        if landing is None or landing.seq > self._moment.head.seq:
            return None
        reached = [name for name, kept in self._moment.reached.items() if landing.seq <= kept.commit.seq]
        return SignatureStatus(landing.slot, reached[-1], landing.error)

    def _undone_since(self, signature: Signature) -> Found | None:
        """A transaction that was on the chain at the moment and is not any more."""
        for undone in self._undone.get(signature, ()):
            if undone.in_slot > self._moment.slots and undone.found.seq <= self._moment.head.seq:
                return undone.found
        return None

    async def _on_chain(self, signature: Signature) -> Found | None:
        return await self._validator.find(signature, Commitment.PROCESSED)


def _landing(found: Found) -> Landing:
    return Landing(found.seq, found.slot, found.record.error)
