"""Splits against slow routers that are obviously right, on thousands of random markets of all kinds of pools."""

import random
from collections.abc import Sequence

import pytest

from bestex.errors import NoRoute
from bestex.routing.certificate import Split
from bestex.routing.split import split
from bestex.types import U64_MAX, Mint, SwapMode
from bestex.venues.curve import PRICE_BITS
from bestex.venues.pool import Pool
from bestex.venues.token import TransferFeeConfig
from tests.support.routing import (
    CLOCK,
    IN,
    ONE,
    OUT,
    TWO,
    asked,
    exhaustive,
    golden_section,
    market,
    mints,
    pool_of,
)

_MARKETS = 100
"""In each test case."""


def made(pools: Sequence[Pool], in_mint: Mint, amount: int, mode: SwapMode) -> Split | None:
    """The split, checked as far as it speaks of itself."""
    try:
        found = split(pools, in_mint, amount, mode, CLOCK)
    except NoRoute:
        return None
    assert (found.in_amount if mode is IN else found.out_amount) == amount
    for leg in found.legs:
        part = leg.quote.in_amount if mode is IN else leg.quote.out_amount
        assert asked(leg.pool, in_mint, part, mode) == leg.quote
    assert found.optimality_gap >= 0
    assert found.net_gap == found.optimality_gap
    assert sum(leg.quote.out_amount for leg in found.legs) == found.out_amount
    assert sum(leg.quote.in_amount for leg in found.legs) == found.in_amount
    return found


def roundings(found: Split) -> float:
    """What rounding can cost, in the measured token: each leg one base unit of its output, and three of its input.

    Of these, two are what the program rounds where it drains a tick or bin (input and fee), one where the swap ends.
    """
    price = found.price / 2**PRICE_BITS
    each: float = 1 + 3 * price if found.swap_mode is IN else 3 + 1 / price
    return 1 + each * len(found.legs)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("mode", [IN, OUT])
def test_no_division_of_a_small_amount_beats_the_bound(seed: int, mode: SwapMode) -> None:
    chance = random.Random(f"{seed} {mode}")
    compared = 0
    for _ in range(_MARKETS // 2):
        of = mints(*(_any_fee(chance, 5) for _ in range(2)))
        pools = market(chance, chance.randint(1, 3), 10 ** chance.uniform(-1, 1), 10 ** chance.uniform(2, 5), of)
        in_mint, amount = chance.choice([ONE, TWO]), chance.randint(1, 30)
        found = made(pools, in_mint, amount, mode)
        best = exhaustive(pools, in_mint, amount, mode)
        if found is None or best is None:
            continue
        compared += 1
        if mode is IN:
            assert found.out_amount <= best <= found.bound
        else:
            assert found.in_amount >= best >= found.bound
    assert compared > _MARKETS // 5


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("mode", [IN, OUT])
def test_the_gap_is_no_more_than_rounding(seed: int, mode: SwapMode) -> None:
    chance = random.Random(f"{seed} {mode}")
    for _ in range(_MARKETS):
        pools = market(chance, chance.choice([1, 2, 3, 5]), 10 ** chance.uniform(-3, 3), 10 ** chance.uniform(9, 14))
        in_mint = chance.choice([ONE, TWO])
        side = 0 if (in_mint == ONE) is (mode is IN) else 1
        amount = int(sum(pool.reserves[side] for pool in pools) * 10 ** chance.uniform(-4, -1)) + 1
        found = made(pools, in_mint, amount, mode)
        if found is not None:
            assert found.optimality_gap <= roundings(found)


@pytest.mark.parametrize("seed", range(10))
def test_golden_section_finds_nothing_better_for_two_pools(seed: int) -> None:
    chance = random.Random(f"golden {seed}")
    for _ in range(_MARKETS // 2):
        of = mints(*(_any_fee(chance, 10**6) for _ in range(2)))
        one, other = market(chance, 2, 10 ** chance.uniform(-2, 2), 10 ** chance.uniform(6, 13), of)
        in_mint = chance.choice([ONE, TWO])
        amount = int(one.reserves[0 if in_mint == ONE else 1] * 10 ** chance.uniform(-3, -0.5)) + 1
        found = made([one, other], in_mint, amount, IN)
        if found is None:
            continue
        best = golden_section(one, other, in_mint, amount)
        assert best <= found.bound
        if all(config is None for config in one.curve(in_mint, CLOCK).transfer_fees):
            assert best - found.out_amount <= roundings(found)


@pytest.mark.parametrize("seed", range(5))
def test_no_random_split_beats_the_bound(seed: int) -> None:
    chance = random.Random(f"random {seed}")
    for _ in range(_MARKETS // 5):
        pools = market(chance, 5, 10 ** chance.uniform(-2, 2), 10 ** chance.uniform(4, 13))
        pools.append(pool_of("damm", chance, 1.0, 10**9, limited=True))
        in_mint = chance.choice([ONE, TWO])
        amount = int(sum(pool.reserves[0 if in_mint == ONE else 1] for pool in pools) * chance.uniform(0, 0.3)) + 1
        found = made(pools, in_mint, amount, IN)
        if found is None:
            continue
        for _ in range(20):
            paid = _random_split(pools, in_mint, amount, found, chance)
            assert paid is None or paid <= found.bound


def _random_split(pools: list[Pool], in_mint: Mint, amount: int, near: Split, chance: random.Random) -> int | None:
    """What some other division pays: one near the split that was found, or any."""
    parts = {leg.pool.address: leg.quote.in_amount for leg in near.legs}
    if chance.random() < 0.5:
        cuts = sorted(chance.randint(0, amount) for _ in pools[1:])
        ends = [0, *cuts, amount]
        parts = {pool.address: high - low for pool, low, high in zip(pools, ends, ends[1:], strict=False)}
    one, other = (chance.choice(pools).address for _ in range(2))
    moved = min(parts.get(one, 0), int(amount * 10 ** chance.uniform(-9, -1)))
    parts[one] = parts.get(one, 0) - moved
    parts[other] = parts.get(other, 0) + moved
    total = 0
    for pool in pools:
        part = parts.get(pool.address, 0)
        quoted = asked(pool, in_mint, part, IN) if part else None
        if part and quoted is None:
            return None
        total += quoted.out_amount if quoted else 0
    return total


def _any_fee(chance: random.Random, scale: int) -> TransferFeeConfig | None:
    """No transfer fee, one without a cap, or one whose cap is met soon."""
    kind = chance.randrange(3)
    if kind == 0:
        return None
    return TransferFeeConfig.constant(chance.randint(1, 3_000), U64_MAX if kind == 1 else chance.randint(0, scale))
