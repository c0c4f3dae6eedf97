"""The book reads pools when they are too old, once for all who wait, and never goes back in time."""

import asyncio
from collections.abc import Sequence

import pytest
from solders.pubkey import Pubkey

from bestex.errors import ClusterUnavailable
from bestex.market.book import Book
from bestex.ports import AccountsAt
from bestex.types import Account, ChainClock, Commitment, SwapMode
from bestex.venues import meteora_dlmm, raydium_cpmm
from bestex.venues.raydium_cpmm import CpmmPool
from tests.support.clock import VirtualClock
from tests.support.cluster import ScriptedCluster
from tests.support.market import CLOCK, JUP, SOL, USDC, cpmm_accounts, dlmm_accounts

CPMM = cpmm_accounts(SOL, USDC, (10**13, 10**12))
DLMM = dlmm_accounts(SOL, USDC, (200 * 10**9, 32_000 * 10**6), active_id=-1834)
CPMM_ADDRESS = next(name for name, account in CPMM.items() if raydium_cpmm.is_pool(account))
DLMM_ADDRESS = next(name for name, account in DLMM.items() if meteora_dlmm.is_pool(account))
JUNK_ADDRESS = Pubkey.new_unique()


class AccountsCluster(ScriptedCluster):
    """Serves a dict of accounts, and counts the reads."""

    def __init__(self) -> None:
        super().__init__(VirtualClock())
        self.world: dict[Pubkey, Account] = CPMM | DLMM | {JUNK_ADDRESS: Account(JUNK_ADDRESS, 1, b"junk")}
        self.reads: list[set[Pubkey]] = []
        self.silent: set[Pubkey] = set()
        """Accounts that are not answered for."""

    async def accounts(self, addresses: Sequence[Pubkey], commitment: Commitment) -> AccountsAt:
        self._check()
        self.reads.append(set(addresses))
        assert len(addresses) <= 100
        if not self.silent.isdisjoint(addresses):
            raise ClusterUnavailable("no answer")
        await asyncio.sleep(0)
        clock = ChainClock(self.slot, CLOCK.unix_timestamp, CLOCK.epoch)
        return AccountsAt(self.slot, clock, [self.world.get(name) for name in addresses])


@pytest.fixture
def cluster() -> AccountsCluster:
    return AccountsCluster()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def book(cluster: AccountsCluster, clock: VirtualClock) -> Book:
    book = Book(cluster, clock, [CPMM_ADDRESS, DLMM_ADDRESS, JUNK_ADDRESS], max_age_s=0.4)
    await book.load()
    cluster.reads.clear()
    return book


def swap(cluster: AccountsCluster) -> CpmmPool:
    """Somebody trades on the CPMM pool; the pool as it is then."""
    before = raydium_cpmm.decode(CPMM_ADDRESS, cluster.world)
    after, _ = before.apply(SOL.mint, 10**12, SwapMode.EXACT_IN, CLOCK)
    cluster.world |= after.encode()
    cluster.slot += 1
    return after


async def reserves(book: Book) -> tuple[int, int]:
    view = await book.view(USDC.mint, SOL.mint)
    return next(pool.reserves for pool in view.pools if pool.address == CPMM_ADDRESS)


async def test_pools_are_listed_by_pair_and_junk_is_refused_by_name(book: Book) -> None:
    assert {listing.pool.address for listing in book.listings()} == {CPMM_ADDRESS, DLMM_ADDRESS}
    assert book.has_pools(SOL.mint, USDC.mint)
    assert book.has_pools(USDC.mint, SOL.mint)
    assert not book.has_pools(SOL.mint, JUP.mint)
    assert set(book.refused) == {JUNK_ADDRESS}


async def test_a_fresh_view_costs_no_read(book: Book, cluster: AccountsCluster, clock: VirtualClock) -> None:
    first = await book.view(SOL.mint, USDC.mint)
    reads = len(cluster.reads)
    clock.advance(0.39)
    assert await book.view(SOL.mint, USDC.mint) is first
    assert len(cluster.reads) == reads


async def test_an_old_view_is_read_again(book: Book, cluster: AccountsCluster, clock: VirtualClock) -> None:
    await book.view(SOL.mint, USDC.mint)
    after = swap(cluster)
    clock.advance(0.5)
    assert await reserves(book) == after.reserves
    view = await book.view(SOL.mint, USDC.mint)
    assert (view.slot, view.clock.slot) == (cluster.slot, cluster.slot)


async def test_many_readers_share_one_read(book: Book, cluster: AccountsCluster) -> None:
    views = await asyncio.gather(*(book.view(SOL.mint, USDC.mint) for _ in range(50)))
    assert len({id(view) for view in views}) == 1
    assert len(cluster.reads) == 2  # one for each venue, at the same time


async def test_a_lagging_node_does_not_take_the_book_back(
    book: Book, cluster: AccountsCluster, clock: VirtualClock
) -> None:
    old_world, old_slot = dict(cluster.world), cluster.slot
    after = swap(cluster)
    assert await reserves(book) == after.reserves
    cluster.world, cluster.slot = old_world, old_slot
    clock.advance(1)
    assert await reserves(book) == after.reserves


async def test_a_failed_read_is_told_and_the_next_one_works(
    book: Book, cluster: AccountsCluster, clock: VirtualClock
) -> None:
    cluster.down = True
    with pytest.raises(ClusterUnavailable):
        await book.view(SOL.mint, USDC.mint)
    cluster.down = False
    assert len((await book.view(SOL.mint, USDC.mint)).pools) == 2


async def test_a_pool_that_turns_unreadable_is_dropped_and_the_others_stay(
    book: Book, cluster: AccountsCluster
) -> None:
    pool = cluster.world[CPMM_ADDRESS]
    cluster.world[CPMM_ADDRESS] = Account(pool.owner, pool.lamports, pool.data[:100])
    cluster.slot += 1
    view = await book.view(SOL.mint, USDC.mint)
    assert [pool.address for pool in view.pools] == [DLMM_ADDRESS]
    assert CPMM_ADDRESS in book.refused


async def test_a_reader_who_gives_up_does_not_spoil_it_for_others(book: Book) -> None:
    one = asyncio.create_task(book.view(SOL.mint, USDC.mint))
    other = asyncio.create_task(book.view(SOL.mint, USDC.mint))
    await asyncio.sleep(0)
    one.cancel()
    assert len((await other).pools) == 2


async def test_an_account_that_does_not_exist_is_not_asked_for_twice(
    book: Book, cluster: AccountsCluster, clock: VirtualClock
) -> None:
    """A pair without a bitmap extension has none at every read."""
    for _ in range(3):
        clock.advance(1)
        await book.view(SOL.mint, USDC.mint)
    assert len(cluster.reads) == 3 * 2  # one for each venue


async def test_pools_that_cannot_be_read_again_are_left_out_and_say_why(
    cluster: AccountsCluster, clock: VirtualClock, book: Book
) -> None:
    clock.advance(1.0)
    cluster.silent = {CPMM_ADDRESS}
    view = await book.view(SOL.mint, USDC.mint)
    assert [pool.address for pool in view.pools] == [DLMM_ADDRESS]
    ((stale, reason),) = view.stale
    assert stale.address == CPMM_ADDRESS
    assert "could not be read again: no answer" in reason
    clock.advance(1.0)
    cluster.silent = set()
    assert {pool.address for pool in (await book.view(SOL.mint, USDC.mint)).pools} == {CPMM_ADDRESS, DLMM_ADDRESS}


async def test_no_pool_that_can_be_read_is_an_error(cluster: AccountsCluster, clock: VirtualClock, book: Book) -> None:
    clock.advance(1.0)
    cluster.silent = set(CPMM | DLMM)
    with pytest.raises(ClusterUnavailable):
        await book.view(SOL.mint, USDC.mint)


async def test_the_picture_of_the_market_is_taken_anew_behind_the_back_of_who_looks(
    cluster: AccountsCluster, clock: VirtualClock, book: Book
) -> None:
    first = book.picture()
    assert first is not None
    assert {pool.address for pool in first.pools} == {CPMM_ADDRESS, DLMM_ADDRESS}
    for _ in range(20):
        await asyncio.sleep(0)
    reads = len(cluster.reads)
    clock.advance(4.9)
    book.picture()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(cluster.reads) == reads, "young enough"
    clock.advance(0.2)
    cluster.slot += 10
    assert book.picture() is not None, "it does not wait"
    for _ in range(20):
        await asyncio.sleep(0)
    later = book.picture()
    assert later is not None
    assert later.clock.slot == cluster.slot > first.clock.slot


def test_pools_lead_over_other_mints(book: Book) -> None:
    assert book.reaches(SOL.mint, USDC.mint, 1)
    assert not book.reaches(SOL.mint, JUP.mint, 3)


def test_a_rate_is_the_price_of_the_deepest_pool(book: Book) -> None:
    over, under = book.rate(SOL.mint, USDC.mint)
    assert over * 10 == pytest.approx(under, rel=1e-6), "reserves of 10**13 and 10**12"
    assert book.rate(SOL.mint, JUP.mint) == (0, 1)
