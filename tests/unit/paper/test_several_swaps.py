"""Several swaps in one transaction: each sees what the ones before it have left, and all of them happen or none."""

import pytest
from solders.instruction import Instruction

from bestex.paper.cluster import PaperCluster
from bestex.ports import LandedTransaction
from bestex.types import Commitment, Mint, SwapMode
from bestex.venues.pool import Pool, Venue
from tests.support import paper
from tests.support.paper import ETH, USDC, USDT, WALLET, Client, ata, balance, pool_at, pools_of, swap

IN, OUT = SwapMode.EXACT_IN, SwapMode.EXACT_OUT
THOUSAND_USDC = 1_000_000_000


async def landed(cluster: PaperCluster, *instructions: Instruction) -> LandedTransaction:
    signature = await Client(cluster).send(*instructions)
    await cluster.validator.tick()
    transaction = await cluster.transaction(signature)
    assert transaction is not None
    return transaction


def held(cluster: PaperCluster) -> dict[Mint, int]:
    return {mint: balance(cluster, ata(mint)) for mint in (USDC, USDT, ETH)}


def quoted(cluster: PaperCluster, pool: Pool, in_mint: Mint, amount: int) -> int:
    return pool.quote(in_mint, amount, IN, cluster.validator.chain.head.clock).out_amount


def moved(transaction: LandedTransaction, mint: Mint) -> int:
    return sum(change.after - change.before for change in transaction.token_changes if change.mint == mint)


async def test_two_pools_share_a_trade() -> None:
    cluster = await paper.paper()
    one, other = pools_of(cluster, USDC, ETH)[:2]
    before = held(cluster)
    parts = [(one, 3 * THOUSAND_USDC), (other, THOUSAND_USDC)]
    paid = [quoted(cluster, pool, USDC, amount) for pool, amount in parts]
    swaps = [swap(pool, USDC, amount, least) for (pool, amount), least in zip(parts, paid, strict=True)]

    transaction = await landed(cluster, *swaps)

    assert transaction.error is None
    after = held(cluster)
    assert (before[USDC] - after[USDC], after[ETH] - before[ETH]) == (4 * THOUSAND_USDC, sum(paid))
    assert moved(transaction, USDC) == moved(transaction, ETH) == 0, "what the pools have, the wallet has not"


@pytest.mark.parametrize("venue", list(Venue))
async def test_the_second_swap_on_a_pool_meets_what_the_first_has_left(venue: Venue) -> None:
    cluster = await paper.paper()
    pool = pools_of(cluster, USDC, ETH, venue)[0]
    clock = cluster.validator.chain.head.clock
    between, first = pool.apply(USDC, THOUSAND_USDC, IN, clock)
    after, second = between.apply(USDC, THOUSAND_USDC, IN, clock)
    assert second.out_amount <= first.out_amount
    before = held(cluster)

    transaction = await landed(
        cluster,
        swap(pool, USDC, THOUSAND_USDC, first.out_amount),
        swap(pool, USDC, THOUSAND_USDC, second.out_amount),
    )

    assert transaction.error is None
    assert held(cluster)[ETH] - before[ETH] == first.out_amount + second.out_amount
    assert pool_at(cluster, pool.address).reserves == after.reserves


async def test_a_hop_spends_what_the_hop_before_it_has_paid() -> None:
    cluster = await paper.paper()
    first, second = pools_of(cluster, USDT, USDC)[0], pools_of(cluster, USDC, ETH)[0]
    reached = quoted(cluster, first, USDT, THOUSAND_USDC)
    paid = quoted(cluster, second, USDC, reached)
    before = held(cluster)

    transaction = await landed(cluster, swap(first, USDT, THOUSAND_USDC, reached), swap(second, USDC, reached, paid))

    assert transaction.error is None
    after = held(cluster)
    assert after == {USDC: before[USDC], USDT: before[USDT] - THOUSAND_USDC, ETH: before[ETH] + paid}


@pytest.mark.parametrize("mode", [IN, OUT])
@pytest.mark.parametrize("venue", list(Venue))
async def test_slippage_on_the_last_leg_undoes_all_of_them(venue: Venue, mode: SwapMode) -> None:
    cluster = await paper.paper()
    pools = [*pools_of(cluster, USDC, ETH), *pools_of(cluster, USDT, USDC)]
    last = pools_of(cluster, USDC, ETH, venue)[0]
    first = next(pool for pool in pools if pool.address != last.address)
    amount = THOUSAND_USDC if mode is IN else 10**6
    quote = last.quote(USDC, amount, mode, cluster.validator.chain.head.clock)
    missed = quote.out_amount + 1 if mode is IN else quote.in_amount - 1
    before, accounts = held(cluster), dict(cluster.validator.chain.state.accounts)

    transaction = await landed(
        cluster,
        swap(first, first.mints[0], 10**6),
        swap(first, first.mints[1], 10**6),
        swap(last, USDC, amount, missed, mode),
    )

    assert transaction.error is not None
    assert transaction.error.instruction_index == 2
    assert held(cluster) == before
    assert transaction.token_changes == []
    assert set(transaction.lamport_changes) == {WALLET.pubkey()}, "the fee, and nothing else"
    for pool in (first, last):
        for name in pool.accounts():
            assert cluster.validator.chain.state.get(name) == accounts.get(name)
    # What was decoded on the way is forgotten, too: the pool still pays its old quote.
    again = await landed(cluster, swap(last, USDC, amount, missed - 1 if mode is IN else missed + 1, mode))
    assert again.error is None


async def test_a_later_leg_that_lacks_tokens_undoes_the_first() -> None:
    cluster = await paper.paper()
    first, second = pools_of(cluster, USDT, USDC)[0], pools_of(cluster, USDC, ETH)[0]
    before = held(cluster)
    transaction = await landed(cluster, swap(first, USDT, THOUSAND_USDC), swap(second, USDC, before[USDC] * 2))
    assert transaction.error is not None
    assert held(cluster) == before


async def test_the_simulation_of_several_swaps_changes_nothing() -> None:
    cluster = await paper.paper()
    one, other = pools_of(cluster, USDC, ETH)[:2]
    before = held(cluster)
    blockhash = await cluster.latest_blockhash(Commitment.FINALIZED)
    _, raw = paper.signed(blockhash.blockhash, [swap(one, USDC, THOUSAND_USDC), swap(other, USDC, THOUSAND_USDC)])
    simulation = await cluster.simulate(raw)
    assert simulation.error is None
    one_alone = await cluster.simulate(paper.signed(blockhash.blockhash, [swap(one, USDC, THOUSAND_USDC)])[1])
    assert simulation.units_consumed > one_alone.units_consumed
    assert held(cluster) == before
