"""What swaps change in a Meteora DAMM v2 pool: vaults, counted amounts, fees, price, volatility.

Source: the account bytes that the on-chain program left, in tests/golden.
"""

import msgspec

from bestex.errors import UnsupportedPool
from bestex.types import BPS, U64_MAX
from bestex.venues import damm_layout as layout
from bestex.venues.damm_curve import MATH_OVERFLOW, refused
from bestex.venues.math import Q64
from bestex.venues.pool import Refusal

_TOKEN_OVERFLOW = 14
_HALF_U128, _HALF_U256 = 1 << 127, 1 << 255
_VOLATILITY_OF_A_BIN = 10_000


class Holding(msgspec.Struct, frozen=True, gc=False):
    """One token of the pool, in base units unless said otherwise."""

    vault: int
    amount: int
    """What the program counts as liquidity; 0 where it does not count yet."""
    protocol: int
    """Owed to the protocol."""
    per_liquidity: int
    """Earned by one unit of liquidity, Q128."""
    earned: int
    """By all liquidity, ever."""
    protocol_earned: int
    withheld: int = 0
    """Transfer fees since decoding."""


class Share(msgspec.Struct, frozen=True, gc=False):
    """Who gets a swap's fee."""

    earned: int = 0
    """By liquidity, all of it."""
    compounded: int = 0
    """What of that stays in the pool."""
    protocol: int = 0


NO_SHARE = Share()


class State(msgspec.Struct, frozen=True):
    """All that swaps change."""

    holdings: tuple[Holding, Holding]
    price: int
    """Square root of B per A, Q64.64."""
    counts: bool
    """Whether the account counts its amounts."""
    dynamic: layout.Dynamic | None
    """None without a dynamic fee."""
    exact: bool = True
    """Whether the volatility is surely what the program would have stored."""


def share_of(fee: int, protocol_percent: int, compounding_bps: int) -> Share:
    """How a trading fee is split."""
    protocol = fee * protocol_percent // 100
    earned = fee - protocol
    return Share(earned, earned * compounding_bps // BPS, protocol)


def moved_by(holding: Holding, share: Share, liquidity: int, *, vault: int, amount: int, withheld: int) -> Holding:
    """The token after a swap that moves its vault, its amount before compounding, and transfer fees by these.

    Raises SwapRefused where a number would not fit u64.
    """
    moved = Holding(
        holding.vault + vault,
        holding.amount + amount + share.compounded,
        holding.protocol + share.protocol,
        holding.per_liquidity + ((share.earned - share.compounded) << 128) // liquidity,
        holding.earned + share.earned,
        holding.protocol_earned + share.protocol,
        holding.withheld + withheld,
    )
    if moved.vault > U64_MAX:
        raise refused(_TOKEN_OVERFLOW, Refusal.OVERFLOW, "The vault cannot hold so much")
    if max(moved.amount, moved.protocol, moved.protocol_earned) > U64_MAX:
        raise refused(MATH_OVERFLOW, Refusal.OVERFLOW, "The pool cannot count so much")
    return moved


def moved_volatility(dynamic: layout.Dynamic, before: int, after: int, now: int) -> tuple[layout.Dynamic, bool]:
    """The dynamic fee after a swap between two square-root prices at a unix timestamp, and whether that is sure.

    The rule is not documented: it was inferred from observation. It is that of Meteora DLMM on square-root prices: once
    `filter_period` has passed, the reference is the price before the swap, with a part of the volatility if
    `decay_period` has not passed; then the volatility grows by two bins for each `bin_step_u128` between the reference
    and the price. It reproduces all 29 recorded states, which have one set of periods and steps; 23 of them reach the
    maximum, 4 move less than a bin, and only 2 show how many bins a distance is. Not sure, since no recorded state
    tells: time that equals a period exactly (or runs backwards); and whether the time of the last update moves with the
    distance from the reference or, as we take it, with the distance that this swap covers, where one of them is less
    than a bin and the other is not.
    """
    elapsed = max(now - dynamic.updated, 0)
    reference_price, reference = dynamic.reference_price, dynamic.reference
    if elapsed >= dynamic.filter_period or not reference_price:
        reference_price = before
        reference = dynamic.volatility * dynamic.reduction_bps // BPS if elapsed < dynamic.decay_period else 0
    bins = _bins_between(reference_price, after, dynamic.bin_step_u128)
    covered = _bins_between(before, after, dynamic.bin_step_u128)
    sure = bool(bins) == bool(covered) and now >= dynamic.updated and dynamic.reference_price > 0
    moved = msgspec.structs.replace(
        dynamic,
        updated=now if covered else dynamic.updated,
        reference_price=reference_price,
        volatility=min(reference + bins * _VOLATILITY_OF_A_BIN, dynamic.max_volatility),
        reference=reference,
    )
    return moved, sure and elapsed not in (dynamic.filter_period, dynamic.decay_period)


def _bins_between(one: int, other: int, bin_step: int) -> int:
    low, high = (one, other) if one < other else (other, one)
    return ((high << 64) // low - Q64) // bin_step * 2


def read_holdings(data: bytes, vault_a: int, vault_b: int) -> tuple[Holding, Holding]:
    """Both tokens of a pool account, with their vaults' balances. Raises UnsupportedPool for impossible fees."""
    amounts = layout.TWO_U64.unpack_from(data, layout.AMOUNTS_AT)
    protocol = layout.TWO_U64.unpack_from(data, layout.PROTOCOL_FEES_AT)
    per_liquidity = [*map(layout.from_little, layout.PER_LIQUIDITY.unpack_from(data, layout.PER_LIQUIDITY_AT))]
    earned_a, earned_b, *protocol_earned = layout.TOTALS.unpack_from(data, layout.TOTALS_AT)
    earned = [*map(layout.from_little, (earned_a, earned_b))]
    if max(per_liquidity) >= _HALF_U256 or max(earned) >= _HALF_U128:
        raise UnsupportedPool("Pool has earned more fees than there can be")
    a, b = zip((vault_a, vault_b), amounts, protocol, per_liquidity, earned, protocol_earned, strict=True)
    return Holding(*a), Holding(*b)


def write_state(data: bytearray, state: State) -> None:
    """Put all but the vaults' balances into a pool account."""
    one, two = state.holdings
    layout.TWO_U64.pack_into(data, layout.PROTOCOL_FEES_AT, one.protocol, two.protocol)
    layout.write_u128(data, layout.PRICE_AT, state.price)
    per_liquidity = layout.u256(one.per_liquidity), layout.u256(two.per_liquidity)
    layout.PER_LIQUIDITY.pack_into(data, layout.PER_LIQUIDITY_AT, *per_liquidity)
    earned = layout.u128(one.earned), layout.u128(two.earned)
    layout.TOTALS.pack_into(data, layout.TOTALS_AT, *earned, one.protocol_earned, two.protocol_earned)
    layout.TWO_U64.pack_into(data, layout.AMOUNTS_AT, one.amount, two.amount)
    data[layout.LAYOUT_VERSION_AT] = state.counts
    if state.dynamic is not None:
        layout.write_dynamic(data, state.dynamic)


def check_prices(collect_mode: int, counts: int, lowest: int, highest: int, price: int) -> None:
    """Raise UnsupportedPool for a state that the program never leaves. Prices are square roots, Q64."""
    if collect_mode == layout.COMPOUNDING and price > 0:
        if not counts:
            raise UnsupportedPool("Compounding pool does not count its amounts")
    elif not 0 < lowest <= price <= highest:
        raise UnsupportedPool("Price lies outside of the pool's range", price=price)
