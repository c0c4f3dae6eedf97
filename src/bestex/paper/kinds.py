"""The kinds of pools that a paper market consists of, and how one of each is made around a price.

Prices and sizes are floats up to here and become integers here, once.
"""

import math
import random
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Protocol

import msgspec
from solders.pubkey import Pubkey

from bestex.paper.assets import Asset
from bestex.types import BPS, Account, Mint
from bestex.venues import damm_synthesis, meteora_damm_v2, meteora_dlmm, raydium_amm_v4, raydium_clmm, raydium_cpmm
from bestex.venues.pool import Venue

BINS_PER_SIDE = 60
_TICK = math.log(1.0001)
_MILLIONTHS = 1_000_000
_Q64 = 2.0**64


class Draft(msgspec.Struct, frozen=True):
    """What a pool is to trade: its tokens, its price, its size."""

    base: Asset
    quote: Asset
    mints: dict[Mint, Account]
    price: float
    """Base units of the quote token per base unit of the base token."""
    usd: float
    """Worth of both sides together."""

    @property
    def sides_raw(self) -> tuple[int, int]:
        """Base and quote token in base units, of equal worth at the price."""
        base_raw = self.base.raw(self.usd / 2)
        return base_raw, int(base_raw * self.price)


class Made(msgspec.Struct, frozen=True):
    """A pool's accounts, the pool itself first."""

    accounts: dict[Pubkey, Account]
    depth_usd: float
    """What it takes to move the price by its own size, about: dollars per unit of log price."""


class Kind(Protocol):
    """A kind of pool on one venue."""

    @property
    def share(self) -> float:
        """Of the pair's liquidity."""
        ...

    @property
    def fee(self) -> float:
        """Of the amount: 0.0025 is 25 basis points."""
        ...

    def make(self, draft: Draft, draw: random.Random) -> Made: ...


class Cpmm(msgspec.Struct, frozen=True):
    """A fee tier of Raydium CPMM."""

    config_index: int
    rate: int
    """Millionths."""
    share: float

    @property
    def fee(self) -> float:
        return self.rate / _MILLIONTHS

    def make(self, draft: Draft, _draw: random.Random) -> Made:
        reserves = dict(zip((draft.base.token.mint, draft.quote.token.mint), draft.sides_raw, strict=True))
        rates = raydium_cpmm.Rates(trade=self.rate)
        accounts = raydium_cpmm.synthesize(draft.mints, reserves, rates=rates, config_index=self.config_index)
        return Made(accounts, draft.usd / 4)


class AmmV4(msgspec.Struct, frozen=True):
    """Raydium AMM v4: all pools have one fee."""

    share: float

    @property
    def fee(self) -> float:
        return 25 / BPS

    def make(self, draft: Draft, _draw: random.Random) -> Made:
        base, quote = draft.base.token.mint, draft.quote.token.mint
        reserves = dict(zip((base, quote), draft.sides_raw, strict=True))
        return Made(raydium_amm_v4.synthesize(draft.mints, base, quote, reserves), draft.usd / 4)


class Clmm(msgspec.Struct, frozen=True):
    """A fee tier of Raydium CLMM, with liquidity in ranges around the price, the narrow ones the deeper."""

    config_index: int
    rate: int
    """Millionths."""
    tick_spacing: int
    half_widths: tuple[float, ...]
    """Of the ranges, in log price; each holds an equal part of the liquidity."""
    share: float

    @property
    def fee(self) -> float:
        return self.rate / _MILLIONTHS

    def make(self, draft: Draft, _draw: random.Random) -> Made:
        upright = bytes(draft.base.token.mint) < bytes(draft.quote.token.mint)
        price = draft.price if upright else 1 / draft.price
        side_raw = draft.sides_raw[1 if upright else 0] / len(self.half_widths)
        middle = math.log(price)
        positions, liquidity_in_all = [], 0.0
        for half_width in self.half_widths:
            lower, upper = (self._on_grid((middle + edge) / _TICK) for edge in (-half_width, half_width))
            liquidity = side_raw / (math.sqrt(price) - math.exp(lower * _TICK / 2))
            positions.append((lower, upper, int(liquidity)))
            liquidity_in_all += liquidity
        accounts = raydium_clmm.synthesize(
            draft.mints,
            positions,
            sqrt_price_x64=int(math.sqrt(price) * _Q64),
            tick_spacing=self.tick_spacing,
            rates=raydium_clmm.FeeRates(trade=self.rate),
            config_index=self.config_index,
        )
        return Made(accounts, liquidity_in_all * math.sqrt(price) / 2 * draft.usd / 2 / draft.sides_raw[upright])

    def _on_grid(self, tick: float) -> int:
        return round(tick / self.tick_spacing) * self.tick_spacing


class Dlmm(msgspec.Struct, frozen=True):
    """A kind of Meteora DLMM pair: bins on both sides of the price, of one height or bell-shaped."""

    bin_step: int
    base_factor: int
    share: float

    @property
    def fee(self) -> float:
        return self.base_factor * self.bin_step / 10_000 / BPS

    def make(self, draft: Draft, draw: random.Random) -> Made:
        step = math.log1p(self.bin_step / BPS)
        active_id = round(math.log(draft.price) / step)
        weights = _shape(bell=draw.random() < 0.5)
        bins: dict[int, tuple[int, int]] = {}
        for distance, weight in enumerate(weights):
            base_raw, quote_raw = draft.base.raw(draft.usd / 2 * weight), draft.quote.raw(draft.usd / 2 * weight)
            if distance == 0:
                bins[active_id] = (base_raw, quote_raw)
            else:
                bins[active_id + distance] = (int(base_raw * math.exp(-distance * step / 2)), 0)
                bins[active_id - distance] = (0, int(quote_raw * math.exp(-distance * step / 2)))
        accounts = meteora_dlmm.synthesize(
            draft.mints,
            draft.base.token.mint,
            draft.quote.token.mint,
            bins,
            active_id=active_id,
            bin_step=self.bin_step,
            base_factor=self.base_factor,
        )
        return Made(accounts, draft.usd / 2 * weights[1] / step)


class DammV2(msgspec.Struct, frozen=True):
    """A kind of Meteora DAMM v2 pool: one range of liquidity, a flat fee."""

    fee_billionths: int
    collect_fee_mode: int
    half_width: float | None
    """Of the range, in log price; None for all prices."""
    share: float

    @property
    def fee(self) -> float:
        return self.fee_billionths / 1e9

    def make(self, draft: Draft, _draw: random.Random) -> Made:
        base, quote = draft.base.token.mint, draft.quote.token.mint
        root = math.sqrt(draft.price)
        sqrt_min, sqrt_max = damm_synthesis.MIN_SQRT_PRICE, damm_synthesis.MAX_SQRT_PRICE
        if self.half_width is not None:
            sqrt_min, sqrt_max = (int(root * math.exp(edge / 2) * _Q64) for edge in (-self.half_width, self.half_width))
        liquidity = draft.sides_raw[1] / (root - sqrt_min / _Q64)
        accounts = meteora_damm_v2.synthesize(
            draft.mints,
            base,
            quote,
            liquidity=int(liquidity * _Q64),
            sqrt_price=int(root * _Q64),
            sqrt_min=sqrt_min,
            sqrt_max=sqrt_max,
            base_fee=meteora_damm_v2.BaseFee(cliff=self.fee_billionths),
            collect_fee_mode=self.collect_fee_mode,
            config=Pubkey(sha256(repr(self).encode()).digest()),
        )
        return Made(accounts, liquidity * root / 2 * draft.usd / 2 / draft.sides_raw[1])


def _shape(*, bell: bool) -> list[float]:
    """Parts of one side's liquidity by distance from the active bin."""
    distances = range(BINS_PER_SIDE + 1)
    raw = [math.exp(-((distance / 30) ** 2)) + 0.1 if bell else 1.0 for distance in distances]
    return [weight / sum(raw) for weight in raw]


WIDE, NARROW = (0.04, 0.15, 0.6), (0.001, 0.004, 0.02)

KINDS: Mapping[Venue, Sequence[Kind]] = {
    Venue.RAYDIUM_CPMM: (Cpmm(3, 400, 0.35), Cpmm(1, 2_500, 0.12), Cpmm(2, 10_000, 0.06)),
    Venue.RAYDIUM_AMM_V4: (AmmV4(0.15),),
    Venue.RAYDIUM_CLMM: (Clmm(4, 400, 10, WIDE, 0.15), Clmm(5, 2_500, 60, WIDE, 0.1)),
    Venue.METEORA_DLMM: (Dlmm(10, 8_000, 0.15), Dlmm(20, 10_000, 0.1), Dlmm(15, 10_000, 0.08)),
    Venue.METEORA_DAMM_V2: (DammV2(500_000, 1, 0.2, 0.15), DammV2(2_500_000, 0, None, 0.06)),
}
"""Every pair has the first kind of each, and the second one or not, and so on."""
LONG_TAIL_KINDS: Mapping[Venue, Sequence[Kind]] = {
    Venue.RAYDIUM_CPMM: (Cpmm(1, 2_500, 0.08), Cpmm(2, 10_000, 0.05)),
    Venue.RAYDIUM_AMM_V4: (AmmV4(0.5),),
    Venue.RAYDIUM_CLMM: (Clmm(7, 10_000, 120, WIDE, 0.1), Clmm(5, 2_500, 60, WIDE, 0.03)),
    Venue.METEORA_DLMM: (Dlmm(40, 15_000, 0.1), Dlmm(20, 12_500, 0.03)),
    Venue.METEORA_DAMM_V2: (DammV2(2_000_000, 1, 0.6, 0.12), DammV2(10_000_000, 0, None, 0.05)),
}
"""The same for tokens that trade less, where fees are high and old pools are the deepest."""
STABLE_KINDS: Mapping[Venue, Sequence[Kind]] = {
    Venue.RAYDIUM_CPMM: (Cpmm(0, 100, 0.2), Cpmm(3, 400, 0.1), Cpmm(1, 2_500, 0.04)),
    Venue.RAYDIUM_AMM_V4: (AmmV4(0.1),),
    Venue.RAYDIUM_CLMM: (Clmm(6, 100, 1, NARROW, 0.2), Clmm(4, 400, 10, NARROW, 0.1)),
    Venue.METEORA_DLMM: (Dlmm(1, 10_000, 0.2), Dlmm(2, 10_000, 0.12), Dlmm(4, 10_000, 0.08)),
    Venue.METEORA_DAMM_V2: (DammV2(500_000, 0, 0.02, 0.1), DammV2(1_000_000, 1, 0.05, 0.05)),
}
"""The same for a pair of stablecoins."""
