"""Splits under rules: costs, limits, pools that cannot take part, pools whose curves are not concave."""

import random
from collections.abc import Sequence
from itertools import combinations

import pytest

from bestex.errors import NoRoute
from bestex.routing.certificate import Split
from bestex.routing.legs import LegCost, LegTerms, Limits, Rules
from bestex.routing.split import split
from bestex.types import SwapMode
from bestex.venues import meteora_dlmm
from bestex.venues.dlmm_synthesis import VariableFee
from bestex.venues.meteora_dlmm import DlmmPool
from bestex.venues.pool import Pool
from bestex.venues.token import TransferFeeConfig
from tests.support.routing import CLOCK, IN, ONE, OUT, PLAIN, TWO, asked, market, mints, pool_of
from tests.support.venues import first


def parts(found: Split) -> dict[str, int]:
    return {str(leg.pool.address): leg.quote.in_amount for leg in found.legs}


def priced(pools: Sequence[Pool], cost: int, limits: Limits = Limits()) -> Rules:  # noqa: B008 - frozen
    return Rules({pool.address: LegTerms(cost, 16, 300, 60_000) for pool in pools}, limits)


@pytest.mark.parametrize("mode", [IN, OUT])
def test_a_split_is_better_than_any_single_pool(mode: SwapMode) -> None:
    pools = market(random.Random(3), 5, 0.2, 10**11)
    amount = sum(pool.reserves[0 if mode is IN else 1] for pool in pools) // 20
    found = split(pools, ONE, amount, mode, CLOCK)
    assert len(found.legs) > 1
    alone = [quoted for pool in pools if (quoted := asked(pool, ONE, amount, mode))]
    if mode is IN:
        assert found.out_amount > max(quoted.out_amount for quoted in alone)
    else:
        assert found.in_amount < min(quoted.in_amount for quoted in alone)


def test_a_split_gives_the_legs_of_a_route() -> None:
    pools = market(random.Random(3), 5, 0.2, 10**11)
    found = split(pools, TWO, 10**9, IN, CLOCK)
    legs = [leg.as_leg(TWO, 0) for leg in found.legs]
    assert sum(leg.in_amount for leg in legs) == 10**9
    assert sum(leg.out_amount for leg in legs) == found.out_amount
    for leg, part in zip(legs, found.legs, strict=True):
        assert (leg.in_mint, leg.out_mint) == (TWO, ONE)
        assert leg.fee_mint == (TWO if part.quote.fee_on_input else ONE)
        assert leg.fee_amount == part.quote.fee_amount


def test_twins_share_equally() -> None:
    chance, twins = random.Random(5), []
    for _ in range(2):
        chance.seed(7)
        pool = pool_of("cpmm", chance, 1.0, 10**12)
        twins.append(pool)
    shares = [leg.quote.in_amount for leg in split(twins, ONE, 10**9, IN, CLOCK).legs]
    assert shares == [5 * 10**8, 5 * 10**8]


def test_one_leg_more_must_pay_for_itself() -> None:
    pools = market(random.Random(11), 5, 0.2, 10**12)
    amount = 10**10
    free = split(pools, ONE, amount, IN, CLOCK)
    counts = []
    for cost in (0, 10**3, 10**5, 10**7):
        found = split(pools, ONE, amount, IN, CLOCK, rules=priced(pools, cost))
        assert found.cost == cost * len(found.legs)
        assert found.net == found.out_amount - found.cost
        assert found.net >= free.out_amount - cost * len(free.legs)
        assert found.net_gap >= 0
        counts.append(len(found.legs))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] == 1


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("mode", [IN, OUT])
def test_few_pools_are_chosen_as_well_as_by_trying_every_choice(seed: int, mode: SwapMode) -> None:
    chance = random.Random(seed)
    pools = market(chance, chance.choice([4, 5, 6]), 0.2, 10**12)
    most = chance.choice([1, 2, 3])
    amount = int(sum(pool.reserves[0 if mode is IN else 1] for pool in pools) * 10 ** chance.uniform(-3, -1))
    terms = {pool.address: LegTerms(chance.choice([0, 10**4, 10**7])) for pool in pools}
    found = split(pools, ONE, amount, mode, CLOCK, rules=Rules(terms, Limits(legs=most)))
    assert len(found.legs) <= most
    sign = 1 if mode is IN else -1
    for size in range(1, most + 1):
        for chosen in combinations(pools, size):
            try:
                other = split(chosen, ONE, amount, mode, CLOCK)
            except NoRoute:
                continue
            net = sign * (other.out_amount if mode is IN else other.in_amount)
            net -= sum(terms[leg.pool.address].cost for leg in other.legs)
            assert net <= sign * found.net
            assert net <= sign * found.net_bound


def test_legs_together_stay_within_every_limit() -> None:
    pools = market(random.Random(13), 8, 0.2, 10**11)
    for limits in (Limits(legs=2), Limits(accounts=40), Limits(size=700), Limits(compute_units=130_000)):
        found = split(pools, ONE, 10**10, IN, CLOCK, rules=priced(pools, 0, limits))
        assert 1 < len(found.legs) <= 2
    with pytest.raises(NoRoute, match="rules allow no legs"):
        split(pools, ONE, 10**10, IN, CLOCK, rules=priced(pools, 0, Limits(accounts=15)))


def test_more_than_the_pools_can_take_is_no_route_and_says_which_refused() -> None:
    chance = random.Random(17)
    small = pool_of("dlmm", chance, 1.0, 10**6)
    with pytest.raises(NoRoute, match="cannot trade this amount"):
        split([small], ONE, 10**12, IN, CLOCK)
    with pytest.raises(NoRoute):
        split([], ONE, 10**12, IN, CLOCK)
    with pytest.raises(NoRoute):
        split([small], ONE, 0, IN, CLOCK)


def test_a_rate_limiter_is_left_out_of_exact_outputs_and_the_split_says_why() -> None:
    chance = random.Random(19)
    limited = pool_of("damm", chance, 1.0, 10**12, limited=True)
    plain = pool_of("cpmm", chance, 1.0, 10**12)
    found = split([limited, plain], TWO, 10**9, OUT, CLOCK)
    assert [excluded.pool for excluded in found.excluded] == [limited]
    assert "exact outputs" in found.excluded[0].reason
    both = split([limited, plain], TWO, 10**9, IN, CLOCK)
    assert both.excluded == ()
    assert both.optimality_gap >= 0


def test_a_capped_transfer_fee_makes_every_leg_cost_and_the_gap_covers_it() -> None:
    cap = 5_000
    of = mints(TransferFeeConfig.constant(100, cap))
    chance = random.Random(23)
    pools = [pool_of("cpmm", chance, 1.0, 10**12, of) for _ in range(2)]
    found = split(pools, ONE, 10**11, IN, CLOCK)
    assert len(found.legs) == 2
    assert found.in_amount == 10**11
    assert 0 < found.optimality_gap <= 2 * cap


def test_one_pool_may_beat_every_split_once_transfers_cost_more_than_they_gain() -> None:
    of = mints(TransferFeeConfig.constant(100, 10**6))
    chance = random.Random(23)
    pools = [pool_of("cpmm", chance, 1.0, 10**12, of) for _ in range(3)]
    found = split(pools, ONE, 10**9, IN, CLOCK)
    assert len(found.legs) == 1
    assert found.out_amount == max(quoted.out_amount for pool in pools if (quoted := asked(pool, ONE, 10**9, IN)))


def test_a_bound_for_larger_inputs_covers_them() -> None:
    pools = market(random.Random(31), 4, 0.2, 10**11)
    for amount in (10**6, 10**9):
        found = split(pools, ONE, amount, IN, CLOCK, bound_amount=2 * amount)
        assert found.bound >= split(pools, ONE, 2 * amount, IN, CLOCK).out_amount
        assert split(pools, ONE, amount, IN, CLOCK).out_amount == found.out_amount


def test_a_dynamic_fee_that_falls_on_the_way_is_covered_by_a_chord() -> None:
    """Within the filter period the fee of a DLMM pair counts from an older bin: swaps back to it grow cheaper."""
    bins = {bin_id: (10**9 if bin_id >= 0 else 0, 10**9 if bin_id <= 0 else 0) for bin_id in range(-30, 31)}
    fee = VariableFee(control=2_000_000, filter_period_s=1_000)
    accounts = PLAIN | meteora_dlmm.synthesize(
        PLAIN, ONE, TWO, bins, active_id=0, bin_step=10, variable_fee=fee, last_update=CLOCK.unix_timestamp
    )
    key = first(meteora_dlmm.synthesize(PLAIN, ONE, TWO, bins, active_id=0, bin_step=10))
    pool: Pool = meteora_dlmm.decode(key, accounts)
    moved, _ = pool.apply(ONE, 20 * 10**9, IN, CLOCK)
    assert isinstance(moved, DlmmPool)
    curve = moved.curve(TWO, CLOCK)
    bins_ahead = moved.quote(TWO, 19 * 10**9, IN, CLOCK).steps
    curve.reach(19 * 10**9)
    assert len(curve.ins.starts) < bins_ahead, "lines that grow steeper are merged"
    plain = pool_of("cpmm", random.Random(29), 1.0, 10**11)
    for amount in (10**8, 10**9, 7 * 10**9, 18 * 10**9):
        found = split([moved, plain], TWO, amount, IN, CLOCK)
        for part in range(0, amount + 1, amount // 50):
            quotes = [asked(each, TWO, share, IN) for each, share in ((moved, part), (plain, amount - part)) if share]
            assert sum(quoted.out_amount for quoted in quotes if quoted) <= found.bound


def test_the_cost_of_a_leg_in_the_output() -> None:
    cost = LegCost(lamports=5_000, micro_lamports_per_unit=10_000, worth=(16, 100))
    assert cost.of(0) == 800
    assert cost.of(60_000) == 896
    assert cost.of(60_001) == 897
