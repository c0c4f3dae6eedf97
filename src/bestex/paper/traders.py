"""Who moves the pools meanwhile: noise traders who buy and sell at random, arbitrageurs who bring prices back.

Prices and sizes are drawn as floats; an amount becomes an integer once, before it is paid. The traders' memory is an
account of the ledger, and chance comes from the seed and the block's height: restarts and forks change nothing.
"""

import math
import random

import msgspec
from solders.pubkey import Pubkey

from bestex.paper import latent
from bestex.paper.assets import ASSETS
from bestex.paper.market import ARBITRAGEUR, NOISE_TRADER, TRADERS, Listing
from bestex.paper.programs import swap
from bestex.paper.programs.frame import SIGNER, WRITABLE, Frame, InstructionFailed
from bestex.paper.state import CachedPool, Overlay, View
from bestex.types import BlockHeight, ChainClock, Mint, SwapMode
from bestex.venues import PROGRAMS
from bestex.venues.pool import Pool, SwapAccounts, SwapCall, VenueProgram
from bestex.venues.token import associated_token_address

_MAX_NOISE_TRADES = 3
_MAX_ARBITRAGES = 4
_POOLS_WATCHED = 3
"""Arbitrageurs look at every third pool in a block."""

_MEDIAN_TRADE_USD = 400.0
_TRADE_SPREAD = 1.3
_MAX_TRADE_PART = 0.003
"""Of the pool's liquidity, for noise trades."""
_MAX_ARBITRAGE_PART = 0.05
_MEDIAN_FEE_MICRO_LAMPORTS = 5_000.0
_FEE_SPREAD = 1.2
_MAX_FEE_MICRO_LAMPORTS = 200_000

_UNITS = 1_400_000
_HUNDREDTHS_OF_BPS = 1_000_000
_Q64 = 2.0**64


class _Anything:
    """Every account, with every privilege: traders sign nothing and lock nothing."""

    def get(self, _address: Pubkey, _default: int, /) -> int:
        return SIGNER | WRITABLE

    def __contains__(self, _address: object) -> bool:
        return True


_ANYTHING = _Anything()


class _Target(msgspec.Struct, frozen=True):
    """A pool as traders see it; the tokens as indexes into the listing's symbols."""

    address: Pubkey
    venue: VenueProgram
    mints: tuple[Mint, Mint]
    tokens: tuple[int, int]
    liquidity_usd: int
    depth_usd: int


class Locked(msgspec.Struct, frozen=True):
    """What a trader's transaction would have paid to lock which accounts."""

    price_micro_lamports: int
    addresses: tuple[Pubkey, ...]


class Traders:
    """Trades on every listed pool, from two wallets of the genesis."""

    def __init__(self, listing: Listing, view: View, *, slot_s: float) -> None:
        """Traders on a market whose accounts are in `view`."""
        self._seed = listing.seed
        self._slot_s = slot_s
        self._assets = [ASSETS[symbol] for symbol in listing.symbols]
        index = {symbol: number for number, symbol in enumerate(listing.symbols)}
        self._targets = [
            _Target(
                address=(address := Pubkey.from_string(listed.address)),
                venue=_venue(view, address),
                mints=(ASSETS[listed.symbols[0]].token.mint, ASSETS[listed.symbols[1]].token.mint),
                tokens=(index[listed.symbols[0]], index[listed.symbols[1]]),
                liquidity_usd=listed.liquidity_usd,
                depth_usd=listed.depth_usd,
            )
            for listed in listing.listed
        ]
        self._weights = [target.liquidity_usd for target in self._targets]
        self._wallets = {
            trader: {
                asset.token.mint: associated_token_address(trader, asset.token.mint, asset.token.program)
                for asset in self._assets
            }
            for trader in TRADERS
        }

    def act(self, block: Overlay, clock: ChainClock, height: BlockHeight) -> list[Locked]:
        """Trade for one block; what is done is in `block` afterwards. Bounded work: a few swaps."""
        account = block.get(latent.ADDRESS)
        if account is None:
            return []
        draw = random.Random(f"traders {self._seed} {height}")  # noqa: S311 - a market, not a secret
        state = latent.read(account).step(self._assets, self._slot_s, draw)
        prices = state.prices(self._assets)
        locked: list[Locked] = []
        trades = _poisson(draw, state.trades_per_s * self._slot_s, _MAX_NOISE_TRADES)
        for target in draw.choices(self._targets, self._weights, k=trades):
            self._trade(_Floor(block, clock, draw, prices, locked), target)
        self._arbitrage(_Floor(block, clock, draw, prices, locked), height)
        block.put(latent.ADDRESS, state.excited(trades).account())
        return locked

    def _trade(self, floor: "_Floor", target: _Target) -> None:
        draw = floor.draw
        side = int(draw.random() < 0.5)
        size = draw.lognormvariate(math.log(_MEDIAN_TRADE_USD), _TRADE_SPREAD)
        self._swap(floor, target, NOISE_TRADER, side, min(size, target.liquidity_usd * _MAX_TRADE_PART))

    def _arbitrage(self, floor: "_Floor", height: BlockHeight) -> None:
        """Trade the pools that are furthest from the latent price back towards it."""
        gains: list[tuple[float, int, _Target]] = []
        for target in self._targets[height % _POOLS_WATCHED :: _POOLS_WATCHED]:
            pool = self._pool(floor, target)
            if pool is None:
                continue
            gap = math.log(self._fair(floor, target) / (pool.spot_price_x64(target.mints[0]) / _Q64))
            gain = abs(gap) - pool.fee_bps_hundredths / _HUNDREDTHS_OF_BPS
            if gain > 0:
                # A base token that the pool sells too cheaply is bought with the quote token.
                gains.append((gain, 1 if gap > 0 else 0, target))
        gains.sort(key=lambda found: found[0], reverse=True)
        for gain, side, target in gains[:_MAX_ARBITRAGES]:
            size = min(gain * target.depth_usd, _MAX_ARBITRAGE_PART * target.liquidity_usd)
            self._swap(floor, target, ARBITRAGEUR, side, size, at_profit=True)

    def _fair(self, floor: "_Floor", target: _Target) -> float:
        """Base units of the quote token per base unit of the base token, at the latent prices."""
        base, quote = target.tokens
        return floor.prices[base] / floor.prices[quote] * 10.0 ** (self._decimals(quote) - self._decimals(base))

    def _decimals(self, token: int) -> int:
        return self._assets[token].token.decimals

    def _pool(self, floor: "_Floor", target: _Target) -> Pool | None:
        try:
            return swap.pool_at(floor.frame(floor.block), target.venue, target.address).pool
        except InstructionFailed:
            return None

    def _swap(
        self, floor: "_Floor", target: _Target, trader: Pubkey, side: int, usd: float, *, at_profit: bool = False
    ) -> None:
        """Sell so many dollars' worth of the base token (side 0) or the quote token (1), unless the pool refuses."""
        sold, bought = target.tokens[side], target.tokens[1 - side]
        amount = int(usd / floor.prices[sold] * 10 ** self._decimals(sold))
        if amount <= 0:
            return
        trial = Overlay(floor.block)
        frame = floor.frame(trial)
        wallet = self._wallets[trader]
        user = SwapAccounts(trader, wallet[target.mints[side]], wallet[target.mints[1 - side]])
        call = SwapCall(target.address, user, amount, 0, SwapMode.EXACT_IN)
        try:
            cached = swap.pool_at(frame, target.venue, target.address)
            quote = swap.settle(frame, target.venue, cached, call, _ANYTHING)
        except InstructionFailed:
            return
        paid_usd = quote.in_amount / 10 ** self._decimals(sold) * floor.prices[sold]
        got_usd = quote.out_amount / 10 ** self._decimals(bought) * floor.prices[bought]
        if at_profit and got_usd <= paid_usd:
            return
        floor.block.absorb(trial)
        floor.locked.append(Locked(_fee(floor.draw), _names(cached)))


class _Floor(msgspec.Struct):
    """One block's trading."""

    block: Overlay
    clock: ChainClock
    draw: random.Random
    prices: list[float]
    """Dollars for one token, in the order of the listing's symbols."""
    locked: list[Locked]

    def frame(self, state: Overlay) -> Frame:
        return Frame(state, self.clock, _ANYTHING, _UNITS, [])


def _venue(view: View, address: Pubkey) -> VenueProgram:
    account = view.get(address)
    assert account is not None, "a listed pool exists"
    return PROGRAMS[account.owner]


def _names(cached: CachedPool) -> tuple[Pubkey, ...]:
    return tuple(name for name, _ in cached.accounts)


def _fee(draw: random.Random) -> int:
    return min(int(draw.lognormvariate(math.log(_MEDIAN_FEE_MICRO_LAMPORTS), _FEE_SPREAD)), _MAX_FEE_MICRO_LAMPORTS)


def _poisson(draw: random.Random, mean: float, most: int) -> int:
    """How many of the events that happen `mean` times on average happen; at most `most`."""
    limit, product, count = math.exp(-mean), draw.random(), 0
    while product > limit and count < most:
        product *= draw.random()
        count += 1
    return count
