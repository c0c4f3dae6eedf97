"""The pools of every pair, decoded, and how fresh they are."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import msgspec
import structlog
from solders.pubkey import Pubkey

from bestex.errors import NoRoute, UnsupportedPool
from bestex.market.freshness import Fresh
from bestex.ports import AccountsAt, Clock, Cluster
from bestex.types import Account, ChainClock, Commitment, Mint, Slot
from bestex.venues import PROGRAMS
from bestex.venues.pool import Pool, VenueProgram

_ACCOUNTS_PER_CALL = 100
"""What `getMultipleAccounts` takes at most."""

_log = structlog.get_logger(__name__)


class Listing(msgspec.Struct):
    """One pool as last read."""

    pool: Pool
    program: VenueProgram
    names: tuple[Pubkey, ...]
    """The accounts that it is decoded from; `accounts` holds those of them that exist."""
    accounts: dict[Pubkey, Account]
    slot: Slot


class PairView(msgspec.Struct, frozen=True):
    """All pools of a pair, fresh enough to quote."""

    pools: tuple[Pool, ...]
    clock: ChainClock
    slot: Slot
    """The oldest slot that a pool was read at."""


class _Pair:
    def __init__(self, book: "Book", clock: Clock, max_age_s: float) -> None:
        self.listings: dict[Pubkey, Listing] = {}
        self.view = Fresh(partial(book.refresh, self), clock, max_age_s=max_age_s)


class Book:
    """Reads pools from the cluster when a quote needs them fresher than they are; concurrent readers share a read."""

    def __init__(self, cluster: Cluster, clock: Clock, pools: Sequence[Pubkey], *, max_age_s: float) -> None:
        self._cluster = cluster
        self._clock = clock
        self._addresses = tuple(pools)
        self._max_age_s = max_age_s
        self._pairs: dict[frozenset[Mint], _Pair] = {}
        self.refused: dict[Pubkey, str] = {}
        """Pools that are not traded, and why."""

    async def load(self) -> None:
        """Read and decode all pools. Raises ClusterUnavailable. A pool that cannot be decoded is refused by name."""
        heads = await self._read(self._addresses)
        wanted: dict[Pubkey, tuple[VenueProgram, tuple[Pubkey, ...]]] = {}
        for address in self._addresses:
            head = heads.accounts.get(address)
            program = PROGRAMS.get(head.owner) if head else None
            if head is None or program is None or not program.is_pool(head):
                self._refuse(address, "no pool of a known venue at this address")
                continue
            try:
                wanted[address] = program, program.accounts_of(address, head)
            except UnsupportedPool as error:
                self._refuse(address, error.message)
        read = await self._read({account for _, accounts in wanted.values() for account in accounts})
        for address, (program, names) in wanted.items():
            self._list(address, program, names, read)

    def has_pools(self, one: Mint, other: Mint) -> bool:
        return frozenset((one, other)) in self._pairs

    def listings(self) -> Iterator[Listing]:
        """All pools that are traded."""
        for pair in self._pairs.values():
            yield from pair.listings.values()

    async def view(self, one: Mint, other: Mint) -> PairView:
        """The pair's pools, fresh. Raises ClusterUnavailable, NoRoute; KeyError for a pair without pools."""
        return await self._pairs[frozenset((one, other))].view.get()

    async def refresh(self, pair: _Pair) -> PairView:
        """Read all pools of a pair, each venue's beside the others'."""
        by_program: dict[VenueProgram, list[Pubkey]] = defaultdict(list)
        for address, listing in pair.listings.items():
            by_program[listing.program].append(address)
        if not by_program:
            raise NoRoute("all pools of this pair are refused")
        clocks = await asyncio.gather(*(self._refresh_venue(pair, addresses) for addresses in by_program.values()))
        return PairView(
            pools=tuple(listing.pool for listing in pair.listings.values()),
            clock=max(clocks, key=lambda clock: clock.slot),
            slot=min((listing.slot for listing in pair.listings.values()), default=0),
        )

    async def _refresh_venue(self, pair: _Pair, addresses: Sequence[Pubkey]) -> ChainClock:
        """Read one venue's pools of the pair again. A node that is behind what we hold changes nothing."""
        asked = {name for address in addresses for name in pair.listings[address].names}
        read = await self._read(asked)
        needed = {name for address in addresses for name in self._needed(pair, address, read)}
        if not needed <= asked:
            # The price has moved to accounts that were not needed before, such as the next bin array. All are read
            # again, so that they are of one slot.
            read = await self._read(asked | needed)
        for address in addresses:
            self._update(pair, address, read)
        return read.clock

    def _needed(self, pair: _Pair, address: Pubkey, read: "_Read") -> tuple[Pubkey, ...]:
        """The accounts that the pool is decoded from as it is now; none when it is a pool no more."""
        head, listing = read.accounts.get(address), pair.listings.get(address)
        if head is None or listing is None:
            return ()
        if head == listing.accounts.get(address):
            return listing.names
        try:
            return listing.program.accounts_of(address, head)
        except UnsupportedPool as error:
            self._refuse(address, error.message)
            del pair.listings[address]
            return ()

    def _update(self, pair: _Pair, address: Pubkey, read: "_Read") -> None:
        names, listing = self._needed(pair, address, read), pair.listings.get(address)
        if listing is None or read.slot < listing.slot:
            return
        accounts = {name: read.accounts[name] for name in names if name in read.accounts}
        if accounts != listing.accounts:
            try:
                listing.pool = listing.program.decode(address, accounts)
            except UnsupportedPool as error:
                self._refuse(address, error.message)
                del pair.listings[address]
                return
        listing.names, listing.accounts, listing.slot = names, accounts, read.slot

    def _list(self, address: Pubkey, program: VenueProgram, names: tuple[Pubkey, ...], read: "_Read") -> None:
        accounts = {name: read.accounts[name] for name in names if name in read.accounts}
        try:
            pool = program.decode(address, accounts)
        except UnsupportedPool as error:
            self._refuse(address, error.message)
            return
        pair = self._pairs.setdefault(frozenset(pool.mints), _Pair(self, self._clock, self._max_age_s))
        pair.listings[address] = Listing(pool, program, names, accounts, read.slot)

    def _refuse(self, address: Pubkey, reason: str) -> None:
        self.refused[address] = reason
        _log.warning("pool refused", pool=str(address), reason=reason)

    async def _read(self, addresses: Iterable[Pubkey]) -> "_Read":
        names = list(addresses)
        chunks = [names[start : start + _ACCOUNTS_PER_CALL] for start in range(0, len(names), _ACCOUNTS_PER_CALL)]
        answers: list[AccountsAt] = await asyncio.gather(
            *(self._cluster.accounts(chunk, Commitment.CONFIRMED) for chunk in chunks)
        )
        found: dict[Pubkey, Account] = {}
        for chunk, answer in zip(chunks, answers, strict=True):
            found.update({name: account for name, account in zip(chunk, answer.accounts, strict=True) if account})
        oldest = min(answers, key=lambda answer: answer.slot)
        return _Read(oldest.slot, oldest.clock, found)


class _Read(msgspec.Struct, frozen=True):
    slot: Slot
    clock: ChainClock
    accounts: dict[Pubkey, Account]
