"""No pool ever pays more than its curve says: what every certificate rests on."""

import random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bestex.errors import SwapRefused
from bestex.types import U64_MAX, SwapMode
from bestex.venues import PROGRAMS, damm_layout, raydium_amm_v4, token
from bestex.venues.curve import PRICE_BITS, VALUE_BITS, Curve
from bestex.venues.meteora_damm_v2 import DammPool
from bestex.venues.pool import ARRAY_LIMIT, Pool
from bestex.venues.raydium_amm_v4 import Rounding
from tests.support import amm, clmm, cpmm, damm, dlmm
from tests.support.venues import CLOCK, IN, MINT_A, OUT, ask, first, mints, patched, vaults_of

pools = st.one_of(amm.pools(), cpmm.pools(), clmm.pools(), dlmm.pools(), damm.pools())
_SLIVER = 1 << VALUE_BITS - PRICE_BITS


@settings(deadline=None, max_examples=120, derandomize=True, suppress_health_check=list(HealthCheck))
@given(pool=pools, mint=mints, seed=st.integers(0, 2**32))
def test_the_conjugate_covers_every_swap(pool: Pool, mint: object, seed: int) -> None:
    chance = random.Random(seed)
    in_mint = pool.mints[0] if mint == MINT_A else pool.mints[1]
    try:
        curve = pool.curve(in_mint, CLOCK)
    except SwapRefused:
        assume(False)
    curve.reach(U64_MAX)
    moves = _moves(pool, curve, chance, in_mint == pool.mints[0])
    assume(moves)
    for arriving, leaving in moves:
        for price in _prices(curve, moves, (arriving, leaving), chance):
            beyond = (leaving << VALUE_BITS) - price * arriving * _SLIVER
            assert curve.conjugate(price) >= beyond
        assert leaving << PRICE_BITS <= curve.steepest * arriving


@settings(deadline=None, max_examples=150, derandomize=True, suppress_health_check=list(HealthCheck))
@given(pool=damm.pools(fees=st.none(), base_fees=damm.limiters), seed=st.integers(0, 2**32))
def test_a_rate_limiter_with_a_dynamic_fee_is_covered_in_every_increment(pool: DammPool, seed: int) -> None:
    chance = random.Random(seed)
    curve = pool.curve(pool.mints[1], CLOCK)
    curve.reach(U64_MAX)
    levels = curve.ins.starts + curve.ins.ends
    assume(levels)
    prices = [int(chance.uniform(0.99, 1.01) / level**2 * 2**PRICE_BITS) for level in levels]
    for amount in [chance.choice(curve.ins.filled) * 10 ** chance.uniform(-1, 0.5) for _ in range(20)]:
        quoted = ask(pool, pool.mints[1], int(amount) or 1, IN)
        if quoted is None:
            continue
        for price in prices:
            assert curve.conjugate(price) >= (quoted.out_amount << VALUE_BITS) - price * quoted.in_amount * _SLIVER


@pytest.mark.parametrize("fee", [(1, 10_000), (25, 10_000), (400, 10_000)])
def test_the_first_base_units_that_pay_no_legacy_fee_are_covered(fee: tuple[int, int]) -> None:
    accounts = amm.amm_accounts((10**6, 10**9), fee=fee)
    for rounding in Rounding:
        pool = raydium_amm_v4.decode(first(accounts), accounts, rounding=rounding)
        curve = pool.curve(MINT_A, CLOCK)
        curve.reach(U64_MAX)
        for amount in range(1, 10_000, 7):
            quoted = ask(pool, MINT_A, amount, IN)
            paid = quoted.out_amount if quoted else 0
            for level in (*curve.ins.starts, curve.ins.starts[0] * 1.0001):
                price = int(2**PRICE_BITS / level**2)
                assert curve.conjugate(price) >= (paid << VALUE_BITS) - price * amount * _SLIVER


def test_a_curve_ends_with_the_arrays_that_a_transaction_carries() -> None:
    bins = {-70 * number: (0, 10**9) for number in range(6)}
    ranges = [(-(number + 1) * 600, -number * 600 - 10, 10**12) for number in range(6)]
    for accounts in (dlmm.dlmm_accounts(bins), clmm.clmm_accounts([(-10, 10, 10**12), *ranges])):
        pool = PROGRAMS[accounts[first(accounts)].owner].decode(first(accounts), accounts)
        curve = pool.curve(MINT_A, CLOCK)
        most = curve.reach(U64_MAX)
        assert pool.quote(MINT_A, most, IN, CLOCK).arrays == ARRAY_LIMIT
        assert pool.quote(MINT_A, most + most // 3, IN, CLOCK).arrays > ARRAY_LIMIT


def test_a_curve_ends_where_the_range_ends_or_the_vault_is_empty() -> None:
    """The split takes what is within reach for what a swap can have: it must neither ask for more nor miss any."""
    low, high = (1 << 64) * 99 // 100, (1 << 64) * 101 // 100
    narrow = damm.damm_accounts(sqrt_price=1 << 64, sqrt_min=low, sqrt_max=high)
    for vault in vaults_of(narrow):
        narrow[vault] = token.credit(narrow[vault], 10**14)
    counted = damm_layout.TWO_U64.pack(10**15, 10**15)
    for accounts in (
        patched(narrow, first(narrow), damm_layout.AMOUNTS_AT, counted),
        clmm.clmm_accounts([(-1_000, 1_000, 10**12)], vaults=(10**9, 10**9)),
    ):
        pool = PROGRAMS[accounts[first(accounts)].owner].decode(first(accounts), accounts)
        for mint in pool.mints:
            most = pool.curve(mint, CLOCK).reach(U64_MAX)
            assert ask(pool, mint, most, IN)
            assert not ask(pool, mint, most + most // 1_000, IN)


def _moves(pool: Pool, curve: Curve, chance: random.Random, forward: bool) -> list[tuple[int, int]]:
    """What arrives at the pool and leaves it in swaps of many sizes, those at the ends of pieces among them."""
    in_mint = pool.mints[0 if forward else 1]
    fee_in, fee_out = (fee and fee.at(CLOCK.epoch) for fee in curve.transfer_fees)
    found = []
    for _ in range(25):
        mode = chance.choice([IN, OUT]) if curve.exact_out else IN
        quoted = ask(pool, in_mint, _amount(curve, mode, chance), mode)
        if quoted is not None and quoted.arrays <= ARRAY_LIMIT:
            arriving = quoted.in_amount - (fee_in.on(quoted.in_amount) if fee_in else 0)
            leaving = quoted.out_amount + (fee_out.to_deliver(quoted.out_amount) if fee_out else 0)
            found.append((arriving, leaving))
    return found


def _amount(curve: Curve, mode: SwapMode, chance: random.Random) -> int:
    most = max(1, min(curve.reached, U64_MAX) if mode is IN else curve.out_amount)
    ends = curve.ins.filled if mode is IN else curve.outs.filled
    if ends and chance.random() < 0.3:
        return max(1, int(chance.choice(ends)) + chance.randint(-2, 2))
    return max(1, int(most ** chance.random())) if chance.random() < 0.6 else chance.randint(1, most)


def _prices(curve: Curve, moves: list[tuple[int, int]], move: tuple[int, int], chance: random.Random) -> list[int]:
    """Slopes of chords, and of the pieces' ends: where an error would show."""
    arriving, leaving = move
    prices = [(leaving << PRICE_BITS) // max(arriving, 1)]
    for x, y in chance.sample(moves, min(5, len(moves))):
        if x > arriving and y > leaving:
            prices.append((y - leaving << PRICE_BITS) // (x - arriving))
    for levels in (curve.ins.starts, curve.ins.ends):
        if levels:
            at = 1 / chance.choice(levels) ** 2
            prices += [int(at * factor * 2**PRICE_BITS) for factor in (1.0, chance.uniform(0.9, 1.0))]
    return [price for price in prices if price > 0]
