"""Markets for benchmarks and tests: pools of all kinds on one pair at about one price, and markets of many mints."""

import math
import random
from collections.abc import Callable, Sequence

from solders.pubkey import Pubkey

from bestex.types import Account, ChainClock, Mint, SwapMode
from bestex.venues import (
    PROGRAMS,
    damm_layout,
    meteora_damm_v2,
    meteora_dlmm,
    raydium_amm_v4,
    raydium_clmm,
    raydium_cpmm,
)
from bestex.venues import token as tokens
from bestex.venues.clmm_layout import FeeRates
from bestex.venues.cpmm_layout import Rates
from bestex.venues.meteora_damm_v2 import BaseFee
from bestex.venues.pool import Pool
from bestex.venues.token import TOKEN_2022_PROGRAM, TOKEN_PROGRAM, TransferFeeConfig

IN, OUT = SwapMode.EXACT_IN, SwapMode.EXACT_OUT
ONE, TWO = (Pubkey(bytes([byte]) * 32) for byte in (1, 2))
CLOCK = ChainClock(slot=1_000, unix_timestamp=1_000_000, epoch=10)
KINDS = ("amm", "cpmm", "clmm", "dlmm", "damm")

Mints = dict[Mint, Account]


def mints(fee_one: TransferFeeConfig | None = None, fee_two: TransferFeeConfig | None = None) -> Mints:
    """The accounts of both mints."""
    return {
        mint: tokens.mint_account(6, 10**18, TOKEN_2022_PROGRAM if fee else TOKEN_PROGRAM, fee)
        for mint, fee in ((ONE, fee_one), (TWO, fee_two))
    }


PLAIN = mints()


def pool_of(
    kind: str, chance: random.Random, price: float, depth: float, of: Mints = PLAIN, *, limited: bool = False
) -> Pool:
    """A pool at about `price` (higher address per lower one), with about `depth` base units of the lower one.

    `limited`: a DAMM v2 pool gets a rate limiter.
    """
    price *= math.exp(chance.gauss(0, 0.001))
    amount = max(2, int(depth * math.exp(chance.gauss(0, 1))))
    address = Pubkey(chance.randbytes(32))
    accounts = _MAKERS[kind](chance, price, amount, of, address)
    if limited:
        fee = BaseFee(
            cliff=10**6,
            mode=damm_layout.RATE_LIMITER,
            periods=chance.randint(1, 200),
            expiration=2 * CLOCK.unix_timestamp,
            reduction=max(1, amount // chance.randint(5, 1_000)),
            max_fee_bps=chance.randint(1_000, 5_000),
        )
        accounts = _damm(chance, price, amount, of, address, fee, damm_layout.FEE_IN_B)
    key = next(iter(accounts))
    return PROGRAMS[accounts[key].owner].decode(key, accounts | of)


def _amm(chance: random.Random, price: float, amount: int, of: Mints, address: Pubkey) -> dict[Pubkey, Account]:
    one, two = sorted(of, key=bytes)
    reserves = {one: amount, two: max(2, int(amount * price))}
    fee = chance.choice([5, 25])
    return raydium_amm_v4.synthesize(of, one, two, reserves, fee_numerator=fee, fee_denominator=10_000, address=address)


def _cpmm(chance: random.Random, price: float, amount: int, of: Mints, address: Pubkey) -> dict[Pubkey, Account]:
    one, two = sorted(of, key=bytes)
    rates = Rates(trade=chance.choice([100, 500, 2_500, 10_000]), creator=chance.choice([0, 700]))
    on = chance.choice([None, 0, 1, 2])
    reserves = {one: amount, two: max(2, int(amount * price))}
    return raydium_cpmm.synthesize(of, reserves, rates=rates, creator_fee_on=on, address=address)


def _clmm(chance: random.Random, price: float, amount: int, of: Mints, address: Pubkey) -> dict[Pubkey, Account]:
    spacing = chance.choice([1, 10, 60])
    home = int(math.log(price) / math.log(1.0001)) // spacing
    depth = max(1, int(amount * math.sqrt(price)))
    ranges = [
        (
            (home - chance.randint(1, 100)) * spacing,
            (home + chance.randint(2, 100)) * spacing,
            max(1, int(depth * chance.uniform(0.2, 3))),
        )
        for _ in range(chance.randint(3, 12))
    ]
    rates = FeeRates(trade=chance.choice([100, 500, 2_500]))
    root = int(math.sqrt(price) * 2**64)
    return raydium_clmm.synthesize(of, ranges, sqrt_price_x64=root, tick_spacing=spacing, rates=rates, address=address)


def _dlmm(chance: random.Random, price: float, amount: int, of: Mints, address: Pubkey) -> dict[Pubkey, Account]:
    one, two = sorted(of, key=bytes)
    step = chance.choice([4, 10, 25])
    active = round(math.log(price) / math.log(1 + step / 10_000))
    each = amount / 20
    bins = {
        active + away: (
            int(each * chance.uniform(0.2, 2)) if away >= 0 else 0,
            int(each * price * chance.uniform(0.2, 2)) if away <= 0 else 0,
        )
        for away in range(-40, 41)
    }
    factor = 10_000 // step * chance.choice([1, 4, 10])
    return meteora_dlmm.synthesize(
        of, one, two, bins, active_id=active, bin_step=step, base_factor=factor, address=address
    )


def _damm(
    chance: random.Random,
    price: float,
    amount: int,
    of: Mints,
    address: Pubkey,
    base_fee: BaseFee | None = None,
    collected: int | None = None,
) -> dict[Pubkey, Account]:
    one, two = sorted(of, key=bytes)
    return meteora_damm_v2.synthesize(
        of,
        one,
        two,
        liquidity=max(1, int(amount * math.sqrt(price))) << 64,
        sqrt_price=int(math.sqrt(price) * 2**64),
        base_fee=base_fee or BaseFee(cliff=chance.choice([500_000, 2_500_000])),
        collect_fee_mode=chance.choice([0, 1]) if collected is None else collected,
        address=address,
    )


_MAKERS: dict[str, Callable[[random.Random, float, int, Mints, Pubkey], dict[Pubkey, Account]]] = {
    "amm": _amm,
    "cpmm": _cpmm,
    "clmm": _clmm,
    "dlmm": _dlmm,
    "damm": _damm,
}


def market(chance: random.Random, pools: int, price: float, depth: float, of: Mints = PLAIN) -> list[Pool]:
    """Pools of all kinds in turn, from a random one on. AMM v4 knows no Token-2022: CPMM stands in for it."""
    first = chance.randrange(len(KINDS))
    kinds = [KINDS[(first + number) % len(KINDS)] for number in range(pools)]
    if any(account.owner == TOKEN_2022_PROGRAM for account in of.values()):
        kinds = ["cpmm" if kind == "amm" else kind for kind in kinds]
    return [pool_of(kind, chance, price, depth, of) for kind in kinds]


class Market:
    """Pools between many mints: most of them against a few hubs, as in life; prices coherent but for fees and noise."""

    def __init__(self, chance: random.Random, mints: int, pools: int, hubs: int = 6) -> None:
        self.mints = [Pubkey(chance.randbytes(32)) for _ in range(mints)]
        self.worth = {mint: math.exp(chance.gauss(0, 2)) for mint in self.mints}
        accounts = {mint: tokens.mint_account(6, 10**18) for mint in self.mints}
        self.pools: list[Pool] = []
        while len(self.pools) < pools:
            first = chance.choice(self.mints[:hubs] if chance.random() < 0.85 else self.mints)
            one, other = sorted((first, chance.choice(self.mints)), key=bytes)
            if one != other:
                kind = KINDS[len(self.pools) % len(KINDS)]
                price, depth = self.worth[one] / self.worth[other], 10**12 / self.worth[one]
                of = {mint: accounts[mint] for mint in (one, other)}
                self.pools.append(pool_of(kind, chance, price, depth, of))


def reserves_of(pools: Sequence[Pool], mint: Mint) -> int:
    """Base units of a mint in all pools that trade it."""
    return sum(pool.reserves[pool.mints.index(mint)] for pool in pools)
