"""Background traders: they keep the venues apart and together, waste nothing, and do the same again."""

import math
import random
from collections import Counter
from collections.abc import Mapping

import pytest
from solders.pubkey import Pubkey

from bestex.paper import latent, market
from bestex.paper.assets import ASSETS, BY_MINT
from bestex.paper.latent import MAX_DEVIATION, TRADES_PER_S, Latent
from bestex.paper.market import Genesis
from bestex.paper.state import Overlay, State
from bestex.paper.traders import Traders
from bestex.types import Account, ChainClock, SwapMode
from bestex.venues import PROGRAMS
from bestex.venues.pool import Pool, gather
from bestex.venues.token import TOKEN_PROGRAM, decode_token_account
from tests.support.paper import WALLET

BLOCKS = 1_500
ALL = list(ASSETS.values())


def clock(height: int) -> ChainClock:
    return ChainClock(height, 1_790_000_000 + height * 2 // 5, 0)


def run(genesis: Genesis, blocks: int, first: int = 2) -> tuple[State, int]:
    """Let traders act for some blocks; how often they traded."""
    state = State(dict(genesis.accounts))
    traders = Traders(genesis.listing, state, slot_s=0.4)
    trades = 0
    for height in range(first, first + blocks):
        block = Overlay(state)
        trades += len(traders.act(block, clock(height), height))
        state.absorb(block)
    return state, trades


@pytest.fixture(scope="module")
def genesis() -> Genesis:
    return market.genesis(1, WALLET.pubkey())


@pytest.fixture(scope="module")
def after(genesis: Genesis) -> tuple[State, int]:
    return run(genesis, BLOCKS)


def totals(accounts: Mapping[Pubkey, Account]) -> Counter[Pubkey]:
    """Base units by mint, over all token accounts."""
    held: Counter[Pubkey] = Counter()
    for account in accounts.values():
        if account.owner == TOKEN_PROGRAM and len(account.data) == 165:
            balance = decode_token_account(account)
            held[balance.mint] += balance.amount
    return held


def pools(state: State, genesis: Genesis) -> list[Pool]:
    found = []
    for address in genesis.listing.pools:
        head = state.accounts[address]
        venue = PROGRAMS[head.owner]
        found.append(venue.decode(address, gather(venue, address, state.accounts.get)))
    return found


def test_tokens_and_lamports_are_conserved(genesis: Genesis, after: tuple[State, int]) -> None:
    state, _ = after
    assert totals(state.accounts) == totals(genesis.accounts)
    lamports = [
        sum(account.lamports for account in accounts.values()) for accounts in (state.accounts, genesis.accounts)
    ]
    assert lamports[0] == lamports[1]
    assert state.accounts[WALLET.pubkey()] == genesis.accounts[WALLET.pubkey()]


def test_they_trade_about_as_often_as_they_should(after: tuple[State, int]) -> None:
    _, trades = after
    assert 0.5 * BLOCKS < trades < 5 * BLOCKS


def test_they_do_the_same_again(genesis: Genesis) -> None:
    one, _ = run(genesis, 50)
    again, _ = run(genesis, 50)
    assert one.accounts == again.accounts
    other, _ = run(market.genesis(2, WALLET.pubkey()), 50)
    assert other.accounts != one.accounts


def test_pools_stay_near_the_latent_price(genesis: Genesis, after: tuple[State, int]) -> None:
    """Within the fee, and the little that one block's noise moves a pool that nobody has looked at yet."""
    state, _ = after
    prices = dict(zip(genesis.listing.symbols, latent.read(state.accounts[latent.ADDRESS]).prices(ALL), strict=True))
    for pool in pools(state, genesis):
        one, other = (BY_MINT[mint].token for mint in pool.mints)
        fair = prices[one.symbol] / prices[other.symbol] * 10.0 ** (other.decimals - one.decimals)
        gap = abs(math.log(fair / (pool.spot_price_x64(one.mint) / 2**64)))
        assert gap < pool.fee_bps_hundredths / 1e6 + 0.003, (pool.venue, one.symbol, other.symbol)


def test_no_pool_runs_empty(genesis: Genesis, after: tuple[State, int]) -> None:
    state, _ = after
    before = {pool.address: pool.reserves for pool in pools(State(dict(genesis.accounts)), genesis)}
    for pool in pools(state, genesis):
        for now, then in zip(pool.reserves, before[pool.address], strict=True):
            assert now > then // 4


def test_arbitrage_closes_a_gap(genesis: Genesis) -> None:
    """A pool that somebody has pushed away comes back."""
    state = State(dict(genesis.accounts))
    traders = Traders(genesis.listing, state, slot_s=0.4)
    (address,) = genesis.listing.pools[:1]

    def pool() -> Pool:
        return next(found for found in pools(state, genesis) if found.address == address)

    before = pool()
    in_mint = before.mints[0]
    pushed, _ = before.apply(in_mint, before.reserves[0] // 50, SwapMode.EXACT_IN, clock(1))
    state.restore({**pushed.encode()})
    gap = abs(math.log(pushed.spot_price_x64(in_mint) / before.spot_price_x64(in_mint)))
    assert gap > 0.03
    for height in range(2, 60):
        block = Overlay(state)
        traders.act(block, clock(height), height)
        state.absorb(block)
    left = abs(math.log(pool().spot_price_x64(in_mint) / before.spot_price_x64(in_mint)))
    assert left < gap / 3


def test_without_their_account_they_do_nothing(genesis: Genesis) -> None:
    state = State({name: account for name, account in genesis.accounts.items() if name != latent.ADDRESS})
    traders = Traders(genesis.listing, state, slot_s=0.4)
    block = Overlay(state)
    assert traders.act(block, clock(2), 2) == []
    assert block.writes == {}


# --- latent prices ----------------------------------------------------------------------------------------------------


def test_the_state_comes_back_from_its_bytes() -> None:
    state = Latent((0.0, -0.0123, 0.022), 2.5)
    assert latent.read(state.account()) == state


def test_prices_stay_within_bounds_and_move() -> None:
    draw = random.Random(5)
    state = latent.quiet(len(ALL))
    greatest = [0.0] * len(ALL)
    for _ in range(5_000):
        state = latent.read(state.step(ALL, 60.0, draw).account())
        greatest = [max(most, abs(moved)) for most, moved in zip(greatest, state.deviations, strict=True)]
    by_symbol = dict(zip(ASSETS, greatest, strict=True))
    assert by_symbol["USDC"] == 0
    assert 0 < by_symbol["USDT"] <= 0.001
    assert all(0.01 < by_symbol[symbol] <= MAX_DEVIATION for symbol in ("SOL", "ETH", "BTC", "JUP", "BONK", "RAY"))


def test_trades_call_for_more_trades_for_a_while() -> None:
    excited = latent.quiet(len(ALL)).excited(10)
    assert excited.trades_per_s > TRADES_PER_S
    calm = excited.step(ALL, 600.0, random.Random(1))
    assert calm.trades_per_s == pytest.approx(TRADES_PER_S, rel=1e-6)
