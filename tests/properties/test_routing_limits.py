"""No route that fits pays more than the bound for routes that fit, and the best one found is close to it."""

import itertools
import random
from collections.abc import Sequence
from contextlib import suppress

import pytest
from bench.markets import Market as World

from bestex.errors import NoRoute
from bestex.routing.graph import Graph
from bestex.routing.legs import LegTerms, Limits, Rules
from bestex.routing.paths import best_path
from bestex.routing.split import split
from bestex.types import Mint
from bestex.venues.pool import Pool
from tests.support.routing import CLOCK, IN, ONE, OUT, TWO, asked, market

_SHARED = [1 << number for number in range(4)]


def rules_of(pools: Sequence[Pool], chance: random.Random, legs: float = 2.5) -> Rules:
    """Some keys of each leg are shared, as programs are."""
    terms = {
        pool.address: LegTerms(
            size=(size := chance.randint(20, 60)),
            keys=sum(chance.sample(_SHARED, 2), 16 << number),
            least_size=size + 32,
        )
        for number, pool in enumerate(pools)
    }
    return Rules(terms, Limits(size=100 + int(legs * 105)), LegTerms(size=100))


def allowed(rules: Rules, pools: Sequence[Pool]) -> list[tuple[Pool, ...]]:
    return [
        legs
        for count in (1, 2, 3)
        for legs in itertools.combinations(pools, count)
        if rules.room_for([pool.address for pool in legs])
    ]


def paid(legs: Sequence[Pool], in_mint: Mint, amount: int, cuts: Sequence[float]) -> int | None:
    """What the legs pay when the amount is cut so."""
    ends = sorted(int(cut * amount) for cut in cuts)
    total = 0
    for pool, low, high in zip(legs, [0, *ends], [*ends, amount], strict=True):
        if high > low:
            quote = asked(pool, in_mint, high - low, IN)
            if quote is None:
                return None
            total += quote.out_amount
    return total


@pytest.mark.parametrize("seed", range(40))
def test_no_choice_that_fits_beats_the_bound(seed: int) -> None:
    chance = random.Random(f"fits {seed}")
    pools = market(chance, chance.randint(2, 7), 0.16, 10**12)
    in_mint = chance.choice([ONE, TWO])
    rules = rules_of(pools, chance)
    amount = int(10 ** chance.uniform(7, 11))
    try:
        found = split(pools, in_mint, amount, IN, CLOCK, rules=rules)
    except NoRoute:
        assert all(asked(pool, in_mint, amount, IN) is None for pool in pools)
        return
    assert rules.room_for([leg.pool.address for leg in found.legs])
    assert found.out_amount <= found.fit_bound <= found.bound
    best = 0
    for legs in allowed(rules, pools):
        for _ in range(30):
            tried = paid(legs, in_mint, amount, [chance.random() for _ in legs[1:]])
            best = max(best, tried or 0)
    assert best <= found.fit_bound
    # One base unit of output and three of input a leg: docs/discussions/routing.md.
    price = found.out_amount / amount
    assert found.fit_bound - found.out_amount <= (1 + 3 * price) * 3 + found.out_amount * 1e-6 + 1


@pytest.mark.parametrize("seed", range(15))
def test_the_same_for_exact_outputs(seed: int) -> None:
    chance = random.Random(f"fits out {seed}")
    pools = market(chance, chance.randint(2, 6), 0.16, 10**12)
    rules = rules_of(pools, chance)
    amount = int(10 ** chance.uniform(6, 10))
    with suppress(NoRoute):
        found = split(pools, ONE, amount, OUT, CLOCK, rules=rules)
        assert found.bound <= found.fit_bound <= found.in_amount
        for pool in pools:
            alone = asked(pool, ONE, amount, OUT)
            assert alone is None or alone.in_amount >= found.fit_bound


@pytest.mark.parametrize("seed", range(40))
def test_no_path_that_fits_beats_the_bound(seed: int) -> None:
    chance = random.Random(f"paths {seed}")
    world = World(chance, 4, 20)
    one, other = world.mints[:2]
    rules = rules_of(world.pools, chance, 3.2)
    amount = int(10 ** chance.uniform(8, 11))
    graph = Graph(world.pools)
    try:
        found = best_path(graph, one, other, amount, CLOCK, rules=rules)
    except NoRoute:
        return
    legs = [leg.pool.address for hop in found.hops for leg in hop.legs]
    assert rules.room_for(legs, found.mints[1:-1])
    assert found.out_amount <= found.fit_bound <= found.bound
    refused = {mints for mints, _ in found.refused}
    for mints in graph.paths(one, other, 3):
        if mints not in refused:
            for tried in _tries(graph, rules, mints, amount, chance):
                assert tried <= found.fit_bound


@pytest.mark.parametrize("seed", range(40))
def test_what_is_known_beforehand_changes_neither_the_path_nor_the_truth_of_the_bound(seed: int) -> None:
    chance = random.Random(f"known {seed}")
    world = World(chance, 4, 24)
    one, other = world.mints[:2]
    rules = rules_of(world.pools, chance, 3.2)
    amount = int(10 ** chance.uniform(8, 11))
    graph = Graph(world.pools)
    try:
        direct = split(graph.pools(one, other), one, amount, IN, CLOCK, rules=rules)
        alone = best_path(graph, one, other, amount, CLOCK, rules=rules)
    except NoRoute:
        return
    found = best_path(graph, one, other, amount, CLOCK, rules=rules, direct=direct)
    assert (found.mints, found.out_amount, found.cost) == (alone.mints, alone.out_amount, alone.cost)
    assert found.out_amount <= found.fit_bound <= found.bound
    least = found.net + chance.choice([-1, 0, 10**6])
    bounded = best_path(graph, one, other, amount, CLOCK, rules=rules, direct=direct, least_net=least)
    assert bounded.net == found.net or found.net <= least
    assert found.out_amount <= bounded.fit_bound
    for mints in graph.paths(one, other, 3):
        if mints not in {refused for refused, _ in bounded.refused}:
            for tried in _tries(graph, rules, mints, amount, chance):
                assert tried <= bounded.fit_bound


def _tries(graph: Graph, rules: Rules, mints: Sequence[Mint], amount: int, chance: random.Random) -> list[int]:
    """What some routes over these mints that fit pay."""
    hops = [allowed(rules, graph.pools(in_mint, out_mint)) for in_mint, out_mint in itertools.pairwise(mints)]
    results = []
    for _ in range(60):
        choice = [chance.choice(sets) for sets in hops if sets]
        together = [pool.address for legs in choice for pool in legs]
        if len(choice) < len(hops) or not rules.room_for(together, mints[1:-1]):
            continue
        reached: int | None = amount
        for in_mint, legs in zip(mints, choice, strict=False):
            reached = paid(legs, in_mint, reached, [chance.random() for _ in legs[1:]]) if reached else None
        if reached:
            results.append(reached)
    return results
