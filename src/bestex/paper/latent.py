"""What tokens are worth outside the pools, and how busy the market is.

Log prices jump, diffuse and are pulled back to where they began; trades call for more trades. The state is kept as
integers in the bytes of an account, and read back from there for every step.
"""

import math
import random
import struct
from collections.abc import Sequence
from hashlib import sha256

import msgspec
from solders.pubkey import Pubkey

from bestex.paper.assets import Asset
from bestex.solana.instructions import SYSTEM_PROGRAM
from bestex.types import Account
from bestex.venues.math import rent_exempt

ADDRESS = Pubkey(sha256(b"bestex paper latent prices").digest())
"""Where the state is kept."""
MAX_DEVIATION = 0.022
"""Greatest log distance from the reference price: two tokens that part as far as they can stay within the bins."""

TRADES_PER_S = 1.5
"""Rate of noise trades in a quiet market."""
_EXCITEMENT_PER_TRADE = 0.03
_EXCITEMENT_DECAY_S = 20.0

_DAY_S = 86_400.0
_PULL_BACK_S = 10_800.0
_JUMPS_PER_S = 1 / 300
_JUMP_PER_VOLATILITY = 0.05
_CAP_PER_VOLATILITY = 2.5
_SCALE = 10**12


class Latent(msgspec.Struct, frozen=True):
    """Log deviations from the reference prices in the order of the listing's symbols, and the rate of noise trades."""

    deviations: tuple[float, ...]
    trades_per_s: float

    def prices(self, assets: Sequence[Asset]) -> list[float]:
        """Dollars for one token of each asset."""
        return [asset.usd * math.exp(moved) for asset, moved in zip(assets, self.deviations, strict=True)]

    def step(self, assets: Sequence[Asset], seconds: float, draw: random.Random) -> "Latent":
        """The state after some time, before the trades in it are known."""
        moved = [_move(asset, x, seconds, draw) for asset, x in zip(assets, self.deviations, strict=True)]
        calm = math.exp(-seconds / _EXCITEMENT_DECAY_S)
        return Latent(tuple(moved), TRADES_PER_S + (self.trades_per_s - TRADES_PER_S) * calm)

    def excited(self, trades: int) -> "Latent":
        """Trades call for more trades."""
        return Latent(self.deviations, self.trades_per_s + _EXCITEMENT_PER_TRADE * trades)

    def account(self) -> Account:
        """The state as an account."""
        values = [round(value * _SCALE) for value in (self.trades_per_s, *self.deviations)]
        data = struct.pack(f"<{len(values)}q", *values)
        return Account(SYSTEM_PROGRAM, rent_exempt(len(data)), data)


def quiet(count: int) -> Latent:
    """The state to begin with: every one of `count` tokens at its reference price."""
    return Latent((0.0,) * count, TRADES_PER_S)


def read(account: Account) -> Latent:
    """The state in an account's bytes."""
    trades_per_s, *deviations = (value / _SCALE for (value,) in struct.iter_unpack("<q", account.data))
    return Latent(tuple(deviations), trades_per_s)


def _move(asset: Asset, deviation: float, seconds: float, draw: random.Random) -> float:
    volatility = asset.daily_volatility
    if not volatility:
        return 0.0
    moved = deviation * math.exp(-seconds / _PULL_BACK_S) + volatility * math.sqrt(seconds / _DAY_S) * draw.gauss(0, 1)
    if draw.random() < _JUMPS_PER_S * seconds:
        moved += volatility * _JUMP_PER_VOLATILITY * draw.gauss(0, 1)
    cap = min(MAX_DEVIATION, _CAP_PER_VOLATILITY * volatility)
    return max(-cap, min(cap, moved))
