"""The chain as views see it: commits newest last, what each commitment has reached, which signatures are known.

Nothing enters here before it is durable. Accounts are kept as of the newest commit, with what each commit that is not
finalized replaced: that gives exact views of older commitments, and takes forks back.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec
from solders.hash import Hash
from solders.pubkey import Pubkey

from bestex.paper.network import NetworkProfile
from bestex.paper.state import Overlay, State
from bestex.ports import Blockhash, Height, SignatureStatus, TransactionError
from bestex.types import Account, BlockHeight, ChainClock, Commitment, Signature, Slot

SLOTS_PER_EPOCH = 432_000


class Commit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became durable in one go: a block, or part of one."""

    seq: int
    slot: Slot
    height: BlockHeight
    time_ms: int
    """UTC; never runs backwards along the chain."""
    hash: bytes
    """Of everything up to here; the blockhash, if this closes the block."""
    closes: bool

    @property
    def clock(self) -> ChainClock:
        """The Clock sysvar during this block."""
        return ChainClock(self.slot, self.time_ms // 1000, self.slot // SLOTS_PER_EPOCH)


class Landing(msgspec.Struct, frozen=True, gc=False):
    """A transaction that is in the chain."""

    seq: int
    slot: Slot
    error: TransactionError | None


class _Link(msgspec.Struct, gc=False):
    commit: Commit
    signatures: Sequence[Signature]
    undo: dict[Pubkey, Account | None] | None
    """The accounts that the commit replaced; None once it is finalized."""


class Chain:
    """The commits that can still matter, and the accounts after the newest of them."""

    def __init__(
        self, profile: NetworkProfile, state: State, first: Commit, landed: Iterable[tuple[Signature, Landing]] = ()
    ) -> None:
        """A chain that begins with `first`, after which the accounts are `state`."""
        self._profile = profile
        self._state = state
        self._links: deque[_Link] = deque()
        self._landings = dict(landed)
        self._heights: dict[bytes, BlockHeight] = {}
        self._reached = dict.fromkeys(Commitment, first)
        self._closed = dict.fromkeys(Commitment, first)
        self._append(_Link(first, tuple(self._landings), None))

    @property
    def state(self) -> State:
        """The accounts as the newest commit left them."""
        return self._state

    @property
    def head(self) -> Commit:
        """The newest commit."""
        return self._links[-1].commit

    def reached(self, commitment: Commitment) -> Commit:
        """The newest commit of at least this commitment."""
        return self._reached[commitment]

    def blockhash(self, commitment: Commitment) -> Blockhash:
        """The hash of the newest whole block at this commitment."""
        block = self._closed[commitment]
        last_valid = block.height + self._profile.blockhash_max_age_blocks
        return Blockhash(_base58(block.hash), last_valid, block.slot)

    def height(self, commitment: Commitment) -> Height:
        """The block height at this commitment, and the slot of that block."""
        commit = self._reached[commitment]
        return Height(commit.height, commit.slot)

    def accepts(self, blockhash: bytes, height: BlockHeight) -> bool:
        """Whether a transaction with this blockhash may be in the block at `height`."""
        made_at = self._heights.get(blockhash)
        return made_at is not None and height <= made_at + self._profile.blockhash_max_age_blocks

    def landing(self, signature: Signature) -> Landing | None:
        """A recent landing; older ones are found in the ledger only."""
        return self._landings.get(signature)

    def status(self, landing: Landing) -> SignatureStatus:
        """How sure the chain is of a landing now."""
        commitment = Commitment.PROCESSED
        if landing.seq <= self._reached[Commitment.FINALIZED].seq:
            commitment = Commitment.FINALIZED
        elif landing.seq <= self._reached[Commitment.CONFIRMED].seq:
            commitment = Commitment.CONFIRMED
        return SignatureStatus(landing.slot, commitment, landing.error)

    def accounts(self, addresses: Sequence[Pubkey], commitment: Commitment) -> list[Account | None]:
        """Accounts as of a commitment, exactly."""
        found = [self._state.get(address) for address in addresses]
        limit = self._reached[commitment].seq
        for link in reversed(self._links):
            if link.commit.seq <= limit or link.undo is None:
                break
            for index, address in enumerate(addresses):
                if address in link.undo:
                    found[index] = link.undo[address]
        return found

    def finalized_accounts(self) -> dict[Pubkey, Account]:
        """All accounts as of the newest finalized commit."""
        view = State(dict(self._state.accounts))
        limit = self._reached[Commitment.FINALIZED].seq
        for link in reversed(self._links):
            if link.commit.seq <= limit or link.undo is None:
                break
            view.restore(link.undo)
        return view.accounts

    def publish(self, commit: Commit, overlay: Overlay, landed: Iterable[tuple[Signature, Landing]]) -> None:
        """Make a durable commit visible."""
        landings = dict(landed)
        self._append(_Link(commit, tuple(landings), self._state.absorb(overlay)))
        self._landings.update(landings)
        self._advance()
        self._prune()

    @property
    def oldest(self) -> Commit:
        """The oldest commit that still matters."""
        return self._links[0].commit

    def branch(self, depth_blocks: int) -> list[Commit]:
        """The commits that a fork of so many blocks would drop, oldest first: never finalized ones."""
        finalized = self._reached[Commitment.FINALIZED]
        lowest = max(self.head.height - depth_blocks, finalized.height)
        return [link.commit for link in self._links if link.commit.height > lowest]

    def drop(self, first_seq: int) -> None:
        """Take back all commits from `first_seq` on; none of them may be finalized."""
        while self._links[-1].commit.seq >= first_seq:
            link = self._links.pop()
            assert link.undo is not None, "finalized commits stay"
            self._state.restore(link.undo)
            for signature in link.signatures:
                self._landings.pop(signature, None)
            self._heights.pop(link.commit.hash, None)
        self._advance()

    def finalize(self, seq: int) -> None:
        """Make sure that nothing up to commit `seq` is ever taken back."""
        final = next((link.commit for link in reversed(self._links) if link.commit.seq <= seq), None)
        if final is not None and final.seq > self._reached[Commitment.FINALIZED].seq:
            self._reached[Commitment.FINALIZED] = final
            self._advance()

    def _append(self, link: _Link) -> None:
        self._links.append(link)
        if link.commit.closes:
            self._heights[link.commit.hash] = link.commit.height

    def _advance(self) -> None:
        """Find out what each commitment has reached. Finality is never taken back."""
        slot = self.head.slot
        final_slot = max(slot - self._profile.finalized_after_slots, self._reached[Commitment.FINALIZED].slot)
        self._reach(Commitment.PROCESSED, slot)
        self._reach(Commitment.CONFIRMED, max(slot - self._profile.confirmed_after_slots, final_slot))
        self._reach(Commitment.FINALIZED, final_slot)
        finalized = self._reached[Commitment.FINALIZED]
        for link in reversed(self._links):
            if link.commit.seq <= finalized.seq:
                if link.undo is None:
                    break
                link.undo = None

    def _reach(self, commitment: Commitment, slot: Slot) -> None:
        links = self._links
        at = len(links) - 1
        while at > 0 and links[at].commit.slot > slot:
            at -= 1
        limit = self._reached[commitment] = links[at].commit
        if limit.closes:
            self._closed[commitment] = limit
        elif self._closed[commitment].seq > limit.seq:
            older = (link.commit for link in reversed(self._links) if link.commit.seq <= limit.seq)
            self._closed[commitment] = next((commit for commit in older if commit.closes), self._links[0].commit)

    def _prune(self) -> None:
        """Forget what is too old for a status without history and for a valid blockhash."""
        head = self.head
        oldest_slot = head.slot - self._profile.status_cache_slots
        oldest_height = head.height - self._profile.blockhash_max_age_blocks - 1
        while (link := self._links[0]).commit.slot < oldest_slot and link.commit.height < oldest_height:
            if link.undo is not None:
                return
            self._links.popleft()
            self._heights.pop(link.commit.hash, None)
            for signature in link.signatures:
                self._landings.pop(signature, None)


@lru_cache(maxsize=64)
def _base58(blockhash: bytes) -> str:
    return str(Hash(blockhash))
