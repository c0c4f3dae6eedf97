"""Paths against trying every one of them."""

import random
from itertools import pairwise, permutations

import pytest
from solders.pubkey import Pubkey

from bestex.errors import NoRoute
from bestex.routing.graph import Graph
from bestex.routing.legs import LegTerms, Limits, Rules
from bestex.routing.paths import Path, best_path
from bestex.routing.split import split
from bestex.types import Mint
from bestex.venues import token
from bestex.venues.pool import Pool
from tests.support.routing import CLOCK, IN, KINDS, asked, pool_of


class World:
    """A few mints with pools between most of them, prices roughly coherent."""

    def __init__(self, chance: random.Random, mints: int, pools: int) -> None:
        self.mints = [Pubkey(chance.randbytes(32)) for _ in range(mints)]
        worth = {mint: 10 ** chance.uniform(-1, 1) for mint in self.mints}
        accounts = {mint: token.mint_account(6, 10**18) for mint in self.mints}
        self.pools: list[Pool] = []
        for _ in range(pools):
            one, other = sorted(chance.sample(self.mints, 2), key=bytes)
            depth = 10 ** chance.uniform(9, 12) / worth[one]
            of = {one: accounts[one], other: accounts[other]}
            self.pools.append(pool_of(chance.choice(KINDS), chance, worth[one] / worth[other], depth, of))

    def between(self, one: Mint, other: Mint) -> list[Pool]:
        return [pool for pool in self.pools if set(pool.mints) == {one, other}]

    def by_trying_all(self, in_mint: Mint, out_mint: Mint, amount: int, hops: int) -> int | None:
        """What the best path pays, each hop split for itself."""
        best = None
        others = [mint for mint in self.mints if mint not in (in_mint, out_mint)]
        for between in range(hops):
            for middle in permutations(others, between):
                mints = (in_mint, *middle, out_mint)
                paid = amount
                try:
                    for one, other in pairwise(mints):
                        paid = split(self.between(one, other), one, paid, IN, CLOCK).out_amount
                except NoRoute:
                    continue
                best = paid if best is None else max(best, paid)
        return best


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("hops", [1, 2, 3])
def test_the_search_finds_what_trying_all_finds(seed: int, hops: int) -> None:
    chance = random.Random(seed)
    world = World(chance, 5, 14)
    graph = Graph(world.pools)
    in_mint, out_mint = chance.sample(world.mints, 2)
    amount = int(10 ** chance.uniform(5, 11))
    best = world.by_trying_all(in_mint, out_mint, amount, hops)
    if best is None:
        with pytest.raises(NoRoute):
            best_path(graph, in_mint, out_mint, amount, CLOCK, hops=hops)
        return
    found = best_path(graph, in_mint, out_mint, amount, CLOCK, hops=hops)
    assert found.out_amount == best
    assert found.optimality_gap >= 0
    assert found.mints[0] == in_mint
    assert found.mints[-1] == out_mint
    _check_hops(found, amount)
    for _ in range(10):
        paid = _other_way(world, found, amount, chance)
        assert paid is None or paid <= found.bound


def _check_hops(found: Path, amount: int) -> None:
    for hop, after in zip(found.hops, found.hops[1:], strict=False):
        assert after.in_amount == hop.out_amount
    assert found.hops[0].in_amount == amount
    assert found.hops[-1].out_amount == found.out_amount


def _other_way(world: World, found: Path, amount: int, chance: random.Random) -> int | None:
    """What the same sequence of mints pays with other splits of its hops."""
    for one, other in zip(found.mints, found.mints[1:], strict=False):
        pools = world.between(one, other)
        cuts = sorted(chance.randint(0, amount) for _ in pools[1:])
        paid = 0
        for pool, low, high in zip(pools, [0, *cuts], [*cuts, amount], strict=True):
            quoted = asked(pool, one, high - low, IN) if high > low else None
            if high > low and quoted is None:
                return None
            paid += quoted.out_amount if quoted else 0
        amount = paid
    return amount


@pytest.mark.parametrize("seed", range(8))
def test_all_hops_together_stay_within_the_rules(seed: int) -> None:
    chance = random.Random(100 + seed)
    world = World(chance, 4, 24)
    graph = Graph(world.pools)
    in_mint, out_mint = world.mints[:2]
    free = best_path(graph, in_mint, out_mint, 10**10, CLOCK)
    terms = {pool.address: LegTerms(cost=1_000, accounts=16) for pool in world.pools}
    for most in (2, 3, 4):
        found = best_path(graph, in_mint, out_mint, 10**10, CLOCK, rules=Rules(terms, Limits(legs=most)))
        legs = sum(len(hop.legs) for hop in found.hops)
        assert legs <= most
        assert found.cost == 1_000 * legs
        assert found.out_amount <= free.bound
        assert found.bound >= free.out_amount
        _check_hops(found, 10**10)


def test_no_path_is_no_route() -> None:
    world = World(random.Random(1), 4, 6)
    stranger = Pubkey(bytes([9]) * 32)
    with pytest.raises(NoRoute, match="No path"):
        best_path(Graph(world.pools), world.mints[0], stranger, 10**6, CLOCK)
    with pytest.raises(NoRoute):
        best_path(Graph(world.pools), world.mints[0], world.mints[1], 0, CLOCK)
