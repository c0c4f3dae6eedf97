"""The paper market: real mints, enough pools of both venues, plausible prices, deep enough, the same for every seed."""

import itertools
import math
from collections import Counter, defaultdict

import pytest
from solders.pubkey import Pubkey

from bestex.market.tokens import Tokens
from bestex.paper import market
from bestex.paper.assets import ASSETS, BY_MINT
from bestex.paper.kinds import BINS_PER_SIDE, KINDS, LONG_TAIL_KINDS, STABLE_KINDS
from bestex.paper.market import ABSENT, TRADERS, Genesis, pack_listing, unpack_listing
from bestex.types import ChainClock, SwapMode
from bestex.venues import PROGRAMS
from bestex.venues.math import rent_exempt
from bestex.venues.pool import Pool, Venue, gather
from bestex.venues.token import (
    NATIVE_MINT,
    TOKEN_PROGRAM,
    associated_token_address,
    decode_mint,
    decode_token_account,
)
from tests.support.paper import WALLET

CLOCK = ChainClock(1, 1_790_000_000, 0)
SEEDS = (1, 2, 77)


@pytest.fixture(scope="module", params=SEEDS)
def genesis(request: pytest.FixtureRequest) -> Genesis:
    return market.genesis(request.param, WALLET.pubkey())


def pools(genesis: Genesis) -> list[Pool]:
    found = []
    for address in genesis.listing.pools:
        head = genesis.accounts[address]
        venue = PROGRAMS[head.owner]
        found.append(venue.decode(address, gather(venue, address, genesis.accounts.get)))
    return found


def price(pool: Pool) -> float:
    """The second token's units for one unit of the first, in whole tokens."""
    one, other = (BY_MINT[mint].token for mint in pool.mints)
    return pool.spot_price_x64(one.mint) / 2**64 * 10.0 ** (one.decimals - other.decimals)


def test_the_same_for_the_same_seed() -> None:
    one, again, other = (market.genesis(seed, WALLET.pubkey()) for seed in (1, 1, 2))
    assert (one.listing, one.accounts) == (again.listing, again.accounts)
    assert one.listing != other.listing


def test_the_listing_comes_back(genesis: Genesis) -> None:
    assert unpack_listing(pack_listing(genesis.listing)) == genesis.listing


def test_tokens(genesis: Genesis) -> None:
    tokens = Tokens(genesis.listing.tokens)
    assert {token.symbol for token in tokens} == {"SOL", "USDC", "USDT", "ETH", "BTC", "JUP", "BONK", "RAY"}
    for token in tokens:
        mint = decode_mint(genesis.accounts[token.mint])
        assert (mint.decimals, mint.program) == (token.decimals, token.program)
    assert tokens.find("sol").mint == NATIVE_MINT


def test_every_pair_has_pools_of_all_venues(genesis: Genesis) -> None:
    per_pair: dict[frozenset[Pubkey], Counter[Venue]] = defaultdict(Counter)
    for pool in pools(genesis):
        per_pair[frozenset(pool.mints)][pool.venue] += 1
    assert len(per_pair) >= 10
    for counts in per_pair.values():
        assert set(counts) == set(Venue)
        assert all(1 <= count <= 3 for count in counts.values())


def test_prices_are_plausible_and_differ_by_about_the_fee(genesis: Genesis) -> None:
    for pool in pools(genesis):
        one, other = (BY_MINT[mint] for mint in pool.mints)
        gap = abs(math.log(price(pool) / (one.usd / other.usd)))
        step = 0.002 if pool.venue is Venue.METEORA_DLMM else 0.0
        assert gap <= pool.fee_bps_hundredths / 1e6 + step / 2
    prices = [price(pool) for pool in pools(genesis)]
    assert len(set(prices)) > len(prices) * 3 / 4


def test_liquidity_of_a_pair_is_one_to_fifty_million_dollars(genesis: Genesis) -> None:
    per_pair: Counter[frozenset[Pubkey]] = Counter()
    for pool in pools(genesis):
        for mint, reserve in zip(pool.mints, pool.reserves, strict=True):
            asset = BY_MINT[mint]
            per_pair[frozenset(pool.mints)] += round(reserve / 10**asset.token.decimals * asset.usd)
    assert all(500_000 < usd < 80_000_000 for usd in per_pair.values())
    assert max(per_pair.values()) > 20_000_000


def test_every_pool_trades_both_ways(genesis: Genesis) -> None:
    for pool in pools(genesis):
        for in_mint in pool.mints:
            quote = pool.quote(in_mint, BY_MINT[in_mint].raw(1_000), SwapMode.EXACT_IN, CLOCK)
            (out_mint,) = set(pool.mints) - {in_mint}
            assert quote.out_amount > BY_MINT[out_mint].raw(950)


def test_bins_lie_on_both_sides_of_the_price(genesis: Genesis) -> None:
    for pool in pools(genesis):
        if pool.venue is not Venue.METEORA_DLMM:
            continue
        for reserve, in_mint in zip(pool.reserves[::-1], pool.mints, strict=True):
            quote = pool.quote(in_mint, reserve * 9 // 10, SwapMode.EXACT_OUT, CLOCK)
            assert BINS_PER_SIDE // 2 < quote.steps <= BINS_PER_SIDE + 1


def test_fee_tiers(genesis: Genesis) -> None:
    tiers: dict[Venue, set[int]] = defaultdict(set)
    for pool in pools(genesis):
        tiers[pool.venue].add(pool.fee_bps_hundredths)
    tables = (KINDS, LONG_TAIL_KINDS, STABLE_KINDS)
    for venue in Venue:
        always = {round(kinds[venue][0].fee * 1e6) for kinds in tables}
        fees = {round(kind.fee * 1e6) for kinds in tables for kind in kinds[venue]}
        assert always <= tiers[venue] <= fees
        assert len(tiers[venue]) >= len(fees) * 2 / 3


def test_supplies_are_what_accounts_hold(genesis: Genesis) -> None:
    held: Counter[Pubkey] = Counter()
    for account in genesis.accounts.values():
        if account.owner == TOKEN_PROGRAM and len(account.data) == 165:
            balance = decode_token_account(account)
            held[balance.mint] += balance.amount
    for asset in ASSETS.values():
        mint = asset.token.mint
        expected = 0 if mint == NATIVE_MINT else held[mint]
        assert decode_mint(genesis.accounts[mint]).supply == expected < 2**64


def test_every_account_lives_for_ever(genesis: Genesis) -> None:
    assert all(account.lamports >= rent_exempt(len(account.data)) for account in genesis.accounts.values())


def test_the_wallets(genesis: Genesis) -> None:
    for asset, owner in itertools.product(ASSETS.values(), (WALLET.pubkey(), *TRADERS)):
        token = asset.token
        account = genesis.accounts.get(associated_token_address(owner, token.mint, token.program))
        if owner == WALLET.pubkey() and token.symbol in (ABSENT, "SOL"):
            assert account is None
        else:
            assert account is not None
            amount = decode_token_account(account).amount
            assert amount / 10**token.decimals * asset.usd == pytest.approx(1e9, rel=1e-6)
    assert genesis.accounts[WALLET.pubkey()].lamports >= 10**15
