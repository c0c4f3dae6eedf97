"""Water-filling: one marginal price for all pools of a pair, and what each of them moves at that price.

Floats find the price; nothing that is promised depends on them. Every curve moves more as the level rises, in pieces
that are linear in the level, so Newton's method lands on the level once the pieces are known; where pools sell at
constant prices the total jumps, and the search goes on among the levels at which pieces begin and end.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from bestex.venues.curve import Sketch

_CLOSE = 1e-11
"""Error of the total, relative, that a last correction repairs; half a base unit is as good."""
_NEWTON_STEPS = 12


def fill(sketches: Sequence[Sketch], amount: float) -> tuple[float, list[float]]:
    """The level at which all sketches together move `amount`, and what each of them then moves.

    `amount` is at most what they can move altogether, and each moves something.
    """
    level, jump = _level(sketches, amount)
    if not jump:
        return level, [_moved(sketch, level, bisect_right) for sketch in sketches]
    moved = [_moved(sketch, level, bisect_left) for sketch in sketches]
    rest = amount - sum(moved)
    for number, sketch in enumerate(sketches):
        more = min(rest, _moved(sketch, level, bisect_right) - moved[number])
        if more > 0:
            moved[number] += more
            rest -= more
    return level, moved


def _level(sketches: Sequence[Sketch], amount: float) -> tuple[float, bool]:
    """The level, and whether the total jumps there from less than the amount to more."""
    low = level = min(sketch.starts[0] for sketch in sketches)
    fixed, slope = _total(sketches, low, bisect_right)
    if fixed + slope * low >= amount:
        return low, True
    high: float | None = None
    growth = 1e-4
    tolerance = max(0.5, _CLOSE * amount)
    for _ in range(_NEWTON_STEPS):
        level = (amount - fixed) / slope if slope else low
        if high is None and not low < level:
            growth *= 8
            level = low * (1 + growth) if low > 0 else low / (1 + growth)
        elif level <= low or (high is not None and level >= high):
            break
        fixed, slope = _total(sketches, level, bisect_right)
        error = fixed + slope * level - amount
        if abs(error) <= tolerance:
            return level, False
        if error < 0:
            low = level
        else:
            high = level
    return _among_thresholds(sketches, amount, low, high)


def _among_thresholds(sketches: Sequence[Sketch], amount: float, low: float, high: float | None) -> tuple[float, bool]:
    """The same, between two levels of which the first is too low: binary search among the ends of pieces."""
    thresholds: list[float] = []
    for sketch in sketches:
        for levels in (sketch.starts, sketch.ends):
            until = len(levels) if high is None else bisect_right(levels, high)
            thresholds += levels[bisect_right(levels, low) : until]
    thresholds.sort()
    first, last = 0, len(thresholds)
    while first < last:
        middle = (first + last) // 2
        level = thresholds[middle]
        fixed, slope = _total(sketches, level, bisect_right)
        if fixed + slope * level < amount:
            low, first = level, middle + 1
            continue
        fixed, slope = _total(sketches, level, bisect_left)
        if fixed + slope * level <= amount:
            return level, True
        high, last = level, middle
    fixed, slope = _total(sketches, low, bisect_right)
    level = (amount - fixed) / slope if slope else low
    return (max(low, level) if high is None else min(max(low, level), high)), False


def _total(
    sketches: Sequence[Sketch], level: float, bisect: Callable[[list[float], float], int]
) -> tuple[float, float]:
    """What is moved at a level: a fixed part, and one that is proportional to the level."""
    fixed = slope = 0.0
    for sketch in sketches:
        at = bisect(sketch.starts, level) - 1
        if at >= 0:
            if level >= sketch.ends[at]:
                fixed += sketch.filled[at]
            else:
                fixed += sketch.offsets[at]
                slope += sketch.rates[at]
    return fixed, slope


def _moved(sketch: Sketch, level: float, bisect: Callable[[list[float], float], int]) -> float:
    at = bisect(sketch.starts, level) - 1
    if at < 0:
        return 0.0
    return sketch.filled[at] if level >= sketch.ends[at] else sketch.offsets[at] + sketch.rates[at] * level
