"""What the router takes to fit into a transaction is what fits, to the byte."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bestex.errors import NoRoute
from bestex.execution.building import Composer, Composition
from bestex.execution.fitting import Fitting
from bestex.paper.assets import ASSETS
from bestex.paper.market import genesis
from bestex.routing.legs import Rules
from bestex.routing.quote import Leg, Route
from bestex.solana.transaction import MAX_ACCOUNT_LOCKS, MAX_BYTES
from bestex.types import Routing, SwapMode, Token
from bestex.venues import PROGRAMS
from bestex.venues.pool import Pool, gather
from tests.support.choosing import chosen

WALLET = Keypair.from_seed(bytes(range(32))).pubkey()
SOL, USDC, ETH, JUP = (ASSETS[symbol].token for symbol in ("SOL", "USDC", "ETH", "JUP"))
SPARE = 2 * 2 * 33
"""A pool near the end of its arrays names fewer of them in one of the two directions; the greater number counts."""
TOKENS = {asset.token.mint: asset.token for asset in ASSETS.values()}


@pytest.fixture(scope="module")
def pools() -> list[Pool]:
    market = genesis(1, WALLET)
    found = []
    for address in market.listing.pools:
        program = PROGRAMS[market.accounts[address].owner]
        found.append(program.decode(address, gather(program, address, market.accounts.get)))
    return found


def of(pools: Sequence[Pool], one: Token, other: Token) -> list[Pool]:
    return [pool for pool in pools if set(pool.mints) == {one.mint, other.mint}]


def rules_for(pools: Sequence[Pool], ends: tuple[Token, Token], *between: Token, **more: Any) -> Rules:
    return Fitting().rules(pools, ends, between, more.get("unit_price", 0), more.get("worth", (0, 1)))


def route_over(path: Sequence[Token], hops: Sequence[Sequence[Pool]]) -> Route:
    """A route of one base unit a leg, for its size."""
    legs = tuple(
        Leg(pool, path[at].mint, path[at + 1].mint, 1, 1, 0, path[at].mint, 1, at)
        for at, pools in enumerate(hops)
        for pool in pools
    )
    return Route(
        in_mint=path[0].mint, out_mint=path[-1].mint, swap_mode=SwapMode.EXACT_IN, routing=Routing.AUTO,
        in_amount=1, out_amount=1, slippage_bps=0, other_amount_threshold=1, price_impact_ppm=0, legs=legs,
        offers=(), context_slot=1, bound=None, bound_class="",
    )  # fmt: skip


def composed(route: Route) -> Composition:
    return Composer(WALLET).compose(
        route, [TOKENS[mint] for mint in route.mints], reference="0199c0de-0000-7000-8000-000000000001", attempt=10,
        blockhash=str(Pubkey.default()), unit_limit=1_400_000, unit_price_micro_lamports=1,
    )  # fmt: skip


@pytest.mark.parametrize("path", [(USDC, SOL), (SOL, USDC), (USDC, ETH), (ETH, USDC)])
def test_legs_together_take_up_what_was_counted(pools: list[Pool], path: tuple[Token, Token]) -> None:
    fit = [0, 0]
    rules = rules_for(pools, path)
    pair = of(pools, *path)
    for legs in (*itertools.combinations(pair, 2), *itertools.combinations(pair, 3)):
        fits = rules.room_for([pool.address for pool in legs])
        fit[fits] += 1
        whole = rules.whole([pool.address for pool in legs])
        try:
            draft = composed(route_over(path, [legs])).draft
        except NoRoute:
            assert not fits
            continue
        assert 0 <= whole.all_bytes - draft.size_bytes <= SPARE
        assert fits == (whole.all_bytes <= MAX_BYTES)
        assert draft.account_locks <= whole.all_accounts <= MAX_ACCOUNT_LOCKS
    assert all(fit), "both happen"


@pytest.mark.parametrize("path", [(USDC, SOL, ETH), (USDC, ETH, SOL), (SOL, USDC, ETH), (JUP, SOL, USDC)])
def test_hops_take_up_what_was_counted(pools: list[Pool], path: tuple[Token, Token, Token]) -> None:
    rules = rules_for(pools, (path[0], path[2]), path[1])
    fitted = 0
    for legs in itertools.product(of(pools, path[0], path[1]), of(pools, path[1], path[2])):
        addresses = [pool.address for pool in legs]
        fits = rules.room_for(addresses, [path[1].mint])
        try:
            draft = composed(route_over(path, [legs[:1], legs[1:]])).draft
        except NoRoute:
            assert not fits
            continue
        assert 0 <= rules.whole(addresses, [path[1].mint]).all_bytes - draft.size_bytes <= SPARE
        fitted += fits
    assert fitted


def test_a_leg_adds_at_least_its_least_size(pools: list[Pool]) -> None:
    pair = of(pools, USDC, SOL)
    rules = rules_for(pools, (USDC, SOL))
    for one, other in itertools.permutations(pair, 2):
        alone, both = (rules.whole([pool.address for pool in legs]).all_bytes for legs in ([one], [one, other]))
        assert both - alone >= rules.of(other.address).least_size > 100


def test_what_the_router_chooses_can_be_composed(pools: list[Pool]) -> None:
    for ends, amount in (((USDC, SOL), 10**12), ((SOL, USDC), 10**13), ((USDC, JUP), 10**11), ((ETH, JUP), 10**10)):
        between = tuple(token for token in TOKENS.values() if token not in ends)
        rules = rules_for(pools, ends, *between, unit_price=5_000, worth=(1, 1000))
        route = chosen(pools, ends[0].mint, ends[1].mint, amount, rules=rules)
        assert len(route.legs) > 1
        assert composed(route).draft.size_bytes <= MAX_BYTES
        assert Fitting().fits(route, TOKENS.__getitem__)


def test_legs_cost_what_their_compute_units_cost(pools: list[Pool]) -> None:
    (pool,) = of(pools, USDC, SOL)[:1]
    free, priced = (
        rules_for(pools, (USDC, SOL), unit_price=price, worth=(3, 2)).of(pool.address) for price in (0, 1_000_000)
    )
    assert free.cost == 0
    assert priced.cost == -(-priced.compute_units * 6 // 5) * 3 // 2


def test_a_route_that_is_too_large_does_not_fit(pools: list[Pool]) -> None:
    pair = of(pools, USDC, SOL)
    assert not Fitting().fits(route_over((USDC, SOL), [pair]), TOKENS.__getitem__)
    assert Fitting().fits(route_over((USDC, SOL), [pair[:1]]), TOKENS.__getitem__)
