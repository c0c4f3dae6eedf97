"""What one swap on a Meteora DAMM v2 pool moves: transfer fees, trading fee and curve, in the program's order.

Source: the on-chain program's answers in tests/golden.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from bestex.errors import SwapRefused
from bestex.types import U64_MAX
from bestex.venues.curve import Piece, beyond
from bestex.venues.damm_curve import MATH_OVERFLOW, End, Leg, refused
from bestex.venues.damm_fees import RATE, Limiter
from bestex.venues.math import ceil_div
from bestex.venues.pool import Refusal
from bestex.venues.token import TransferFeeConfig

_INSUFFICIENT_FUNDS, _ZERO = 1, 6006
_INCREMENTS = 64

Side: TypeAlias = tuple[
    Leg,
    Leg,
    Callable[[], End | None],
    bool,
    TransferFeeConfig | None,
    TransferFeeConfig | None,
    int,
    int | None,
]
"""Curve by input, by output, up to its end; fee on the input; transfer fees; most to pay out; fee, if it is fixed."""

Flow: TypeAlias = tuple[int, int, int, int, int, int]
"""Base units: user pays, user receives, vault gains, vault loses, trading fee; square-root price after the swap."""


def exact_in(side: Side, amount: int, epoch: int, numerator: int, limiter: Limiter | None) -> Flow:
    """A swap of a fixed input. Raises SwapRefused as the program would."""
    give, _, _, on_input, fee_in, fee_out, most, _ = side
    arriving = amount if fee_in is None else amount - fee_in.at(epoch).on(amount)
    if arriving <= 0:
        raise _nothing()
    if on_input:
        if limiter is not None:
            numerator = limiter.on(arriving)
        fee = -(-arriving * numerator // RATE)
        leaving, price = give(arriving - fee)
        if leaving > most:
            raise _vault_too_small()
    else:
        gross, price = give(arriving)
        if gross > most:
            raise _vault_too_small()
        fee = -(-gross * numerator // RATE)
        leaving = gross - fee
    received = leaving if fee_out is None else leaving - fee_out.at(epoch).on(leaving)
    return amount, received, arriving, leaving, fee, price


def partial_fill_of(side: Side, amount: int, epoch: int, numerator: int, limiter: Limiter | None) -> Flow:
    """A swap of at most this input that stops where the price range ends. Raises SwapRefused as the program would."""
    _, _, reach_end, on_input, fee_in, fee_out, most, _ = side
    arriving = amount if fee_in is None else amount - fee_in.at(epoch).on(amount)
    if arriving <= 0:
        raise _nothing()
    net = arriving
    if on_input:
        net -= ceil_div(arriving * (limiter.on(arriving) if limiter else numerator), RATE)
    end = reach_end()
    if end is None or net < end[0]:
        if net == 0:
            raise _nothing(Refusal.ZERO_OUTPUT)
        return exact_in(side, amount, epoch, numerator, limiter)
    consumed, gross, price = end
    if consumed == 0:
        raise _nothing(Refusal.ZERO_OUTPUT)
    if gross > most:
        raise _vault_too_small()
    paid = amount
    if net > consumed:
        if on_input:
            numerator = limiter.beside(consumed) if limiter else numerator
            arriving = ceil_div(consumed * RATE, RATE - numerator)
        else:
            arriving = consumed
        paid = arriving if fee_in is None else arriving + fee_in.at(epoch).to_deliver(arriving)
    fee = arriving - consumed if on_input else ceil_div(gross * numerator, RATE)
    leaving = gross if on_input else gross - fee
    received = leaving if fee_out is None else leaving - fee_out.at(epoch).on(leaving)
    return paid, received, arriving, leaving, fee, price


def exact_out(side: Side, amount: int, epoch: int, numerator: int, limiter: Limiter | None) -> Flow:
    """A swap for a fixed output. Raises SwapRefused as the program would."""
    _, take, _, on_input, fee_in, fee_out, most, _ = side
    leaving = amount if fee_out is None else amount + fee_out.at(epoch).to_deliver(amount)
    if on_input:
        net, price = take(leaving)
        if leaving > most:
            raise _vault_too_small()
        if limiter is not None:
            numerator = limiter.beside(net)
        arriving = -(-net * RATE // (RATE - numerator))
        fee = arriving - net
    else:
        gross = -(-leaving * RATE // (RATE - numerator))
        arriving, price = take(gross)
        if gross > most:
            raise _vault_too_small()
        fee = gross - leaving
    paid = arriving if fee_in is None else arriving + fee_in.at(epoch).to_deliver(arriving)
    if paid > U64_MAX:
        raise refused(MATH_OVERFLOW, Refusal.OVERFLOW, "The price does not fit u64")
    return paid, amount, arriving, leaving, fee, price


def most_leaving(side: Side, numerator: int) -> int:
    """The most that a swap can pay after trading fees: until the range ends, or the vault is empty."""
    _, _, reach_end, on_input, _, _, most, _ = side
    end = reach_end()
    most = most if end is None else min(most, end[1])
    return most if on_input else most - ceil_div(most * numerator, RATE)


def pieces(hyperbola: tuple[int, int, int], on_input: bool, numerator: int, limiter: Limiter | None) -> Iterator[Piece]:
    """What the curve pays at most after trading fees."""
    gain, base, drag = hyperbola
    if limiter is not None and on_input:
        yield from _limited(hyperbola, limiter)
        return
    kept = RATE - numerator
    gain, base, drag = (gain * kept, base * RATE, drag * kept) if on_input else (gain * kept, base * RATE, drag * RATE)
    yield gain, base, drag, U64_MAX, gain // drag


def _limited(hyperbola: tuple[int, int, int], limiter: Limiter) -> Iterator[Piece]:
    """One piece for each increment of the fee. Those beyond _INCREMENTS are charged like the last one: too little."""
    gain, base, drag = hyperbola
    start = net = 0
    for rate, end in limiter.marginal(_INCREMENTS):
        kept = RATE - rate
        piece = beyond(gain, base, drag, (net, RATE), (kept, RATE))
        net += (end - start) * kept
        yield *piece, end, ceil_div(gain * net, base * RATE + drag * net)
        start = end


def _nothing(kind: Refusal = Refusal.ZERO_AMOUNT) -> SwapRefused:
    return refused(_ZERO, kind, "Nothing would be swapped")


def out_of_bounds(amount: int) -> SwapRefused:
    """The refusal of an amount that is not positive, or does not fit u64."""
    if amount <= 0:
        return _nothing()
    return refused(MATH_OVERFLOW, Refusal.OVERFLOW, "The amount does not fit u64")


def _vault_too_small() -> SwapRefused:
    return refused(_INSUFFICIENT_FUNDS, Refusal.LIQUIDITY, "The vault holds less than the curve promises")
