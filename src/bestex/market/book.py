"""The pools of every pair, decoded, and how fresh they are."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import msgspec
import structlog
from solders.pubkey import Pubkey

from bestex.errors import NoRoute, Unavailable, UnsupportedPool
from bestex.market.freshness import Fresh
from bestex.market.listing import Listing, PairView, Picture
from bestex.ports import AccountsAt, Clock, Cluster
from bestex.types import Account, ChainClock, Commitment, Mint, Slot
from bestex.venues import PROGRAMS
from bestex.venues.pool import Pool, VenueProgram

_ACCOUNTS_PER_CALL = 99
"""What `getMultipleAccounts` takes at most, less the clock that is read with them."""

_SURVEY_S = 5.0
"""How old the picture of the whole market may be, in which paths are looked for..."""
_SURVEYED_PER_S = 200
"""...and how many accounts may be read for it: of a large market it is older."""

_log = structlog.get_logger(__name__)


class _Pair:
    def __init__(self, book: "Book", clock: Clock, max_age_s: float) -> None:
        self.listings: dict[Pubkey, Listing] = {}
        self.view = Fresh(partial(book.refresh, self), clock, max_age_s=max_age_s)
        self.rates: dict[Mint, tuple[int, int]] = {}
        """By the mint that is given, of the pools as they are now."""


class Book:
    """Reads pools from the cluster when a quote needs them fresher than they are; concurrent readers share a read."""

    def __init__(self, cluster: Cluster, clock: Clock, pools: Sequence[Pubkey], *, max_age_s: float) -> None:
        self._cluster = cluster
        self._clock = clock
        self._addresses = tuple(pools)
        self._max_age_s = max_age_s
        self._pairs: dict[frozenset[Mint], _Pair] = {}
        self._survey = Fresh(self._look_at_all, clock, max_age_s=_SURVEY_S)
        self._picture: Picture | None = None
        self._reached: dict[tuple[Mint, int], set[Mint]] = {}
        """Where pools lead from a mint in so many steps; pairs do not change once they are loaded."""
        self.refused: dict[Pubkey, str] = {}
        """Pools that are not traded, and why."""

    async def load(self) -> None:
        """Read and decode all pools. Raises ClusterUnavailable. A pool that cannot be decoded is refused by name."""
        read = await self._read(self._addresses)
        programs: dict[Pubkey, VenueProgram] = {}
        for address in self._addresses:
            head = read.accounts.get(address)
            program = PROGRAMS.get(head.owner) if head else None
            if head is None or program is None or not program.is_pool(head):
                self._refuse(address, "no pool of a known venue at this address")
            else:
                programs[address] = program
        read, names = await self._read_all(programs, set(self._addresses), read)
        for address, named in names.items():
            self._list(address, programs[address], named, read)
        self._reached.clear()
        self._survey = Fresh(
            self._look_at_all, self._clock, max_age_s=max(_SURVEY_S, len(read.accounts) / _SURVEYED_PER_S)
        )
        self._picture = self._as_read(read.clock)

    def picture(self) -> Picture | None:
        """The whole market as last read; a newer one is taken meanwhile, where this one is old. None before `load`."""
        self._survey.refresh_soon()
        return self._picture

    async def _look_at_all(self) -> Picture:
        views = await asyncio.gather(*(pair.view.get() for pair in self._pairs.values()), return_exceptions=True)
        clocks = [view.clock for view in views if isinstance(view, PairView)]
        if clocks:
            self._picture = self._as_read(max(clocks, key=lambda clock: clock.slot))
        assert self._picture is not None
        return self._picture

    def _as_read(self, clock: ChainClock) -> Picture:
        return Picture(tuple(listing.pool for listing in self.listings()), clock)

    def reaches(self, one: Mint, other: Mint, hops: int) -> bool:
        """Whether pools lead from one mint to the other in at most so many steps."""
        reached = self._reached.get((one, hops))
        if reached is None:
            reached = {one}
            for _ in range(hops):
                reached |= {mint for pair in self._pairs if not reached.isdisjoint(pair) for mint in pair}
            self._reached[one, hops] = reached
        return other in reached

    def has_pools(self, one: Mint, other: Mint) -> bool:
        return frozenset((one, other)) in self._pairs

    def addresses(self, one: Mint, other: Mint) -> tuple[Pubkey, ...]:
        """The pools of a pair; KeyError for one without."""
        return tuple(self._pairs[frozenset((one, other))].listings)

    def rate(self, mint: Mint, other: Mint) -> tuple[int, int]:
        """About what a base unit of `mint` is worth in base units of `other`, as a fraction, by the deepest pool.

        As last read. Zero where no pool trades the two against each other.
        """
        pair = self._pairs.get(frozenset((mint, other)))
        if pair is None or not pair.listings:
            return 0, 1
        known = pair.rates.get(mint)
        if known is None:
            deepest = max(pair.listings.values(), key=lambda listing: _reserve(listing.pool, mint))
            known = pair.rates[mint] = deepest.pool.spot_price_x64(mint), 1 << 64
        return known

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
        answers = await asyncio.gather(
            *(self._refresh_venue(pair, addresses) for addresses in by_program.values()), return_exceptions=True
        )
        clocks = [answer for answer in answers if isinstance(answer, ChainClock)]
        failed = {
            address: answer
            for answer, addresses in zip(answers, by_program.values(), strict=True)
            if isinstance(answer, BaseException)
            for address in addresses
        }
        for answer in failed.values():
            if not clocks or not isinstance(answer, Unavailable):
                raise answer
        fresh = [listing for address, listing in pair.listings.items() if address not in failed]
        return PairView(
            pools=tuple(listing.pool for listing in fresh),
            clock=max(clocks, key=lambda clock: clock.slot),
            slot=min((listing.slot for listing in fresh), default=0),
            stale=tuple((pair.listings[address].pool, _why_stale(error)) for address, error in failed.items()),
        )

    async def _refresh_venue(self, pair: _Pair, addresses: Sequence[Pubkey]) -> ChainClock:
        """Read one venue's pools of the pair again. A node that is behind what we hold changes nothing."""
        programs = {address: pair.listings[address].program for address in addresses}
        asked = {name for address in addresses for name in pair.listings[address].names}
        read, names = await self._read_all(programs, asked, await self._read(asked))
        pair.rates.clear()
        for address in addresses:
            if address in names:
                self._update(pair.listings, address, names[address], read)
            else:
                del pair.listings[address]
        return read.clock

    async def _read_all(
        self, programs: Mapping[Pubkey, VenueProgram], asked: set[Pubkey], read: "_Read"
    ) -> tuple["_Read", dict[Pubkey, tuple[Pubkey, ...]]]:
        """Everything that these pools are decoded from, all of one slot, and the names of each pool's part.

        The price may have moved to accounts that were not needed before, such as the next bin array, and a bitmap
        extension names some only once it is known. Pools that are none any more are refused and left out.
        """
        while True:
            names: dict[Pubkey, tuple[Pubkey, ...]] = {}
            for address, program in programs.items():
                try:
                    names[address] = program.accounts_of(address, read.accounts)
                except UnsupportedPool as error:
                    self._refuse(address, error.message)
            needed = {name for named in names.values() for name in named}
            if needed <= asked:
                return read, names
            asked = asked | needed
            read = await self._read(asked)

    def _update(
        self, listings: dict[Pubkey, Listing], address: Pubkey, names: tuple[Pubkey, ...], read: "_Read"
    ) -> None:
        listing = listings[address]
        if read.slot < listing.slot:
            return
        accounts = {name: read.accounts[name] for name in names if name in read.accounts}
        if accounts != listing.accounts:
            try:
                listing.pool = listing.program.decode(address, accounts)
            except UnsupportedPool as error:
                self._refuse(address, error.message)
                del listings[address]
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


def _why_stale(error: BaseException) -> str:
    return f"its state could not be read again: {error}"


def _reserve(pool: Pool, mint: Mint) -> int:
    return pool.reserves[pool.mints.index(mint)]


class _Read(msgspec.Struct, frozen=True):
    slot: Slot
    clock: ChainClock
    accounts: dict[Pubkey, Account]
