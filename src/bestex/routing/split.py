"""Split a trade over all pools of a pair, and prove how little a better split could bring.

For any price v, no split of A base units pays more than v*A plus the sum over all pools of max f(x) - v*x: each leg's
f(x) is at most its own maximum plus v*x, and the x add up to A. The marginal price of the split that was found makes
the bound tight. It is computed in integers and rounded up, see `bestex.venues.curve`; for exact outputs the same sum
bounds the input from below. Transfer fees belong to the mints: a fee on a sum is never more than the fees on its parts,
so what arrives at all pools together is at most what would arrive in one transfer, and the same holds for outputs.
"""

from collections.abc import Sequence

from bestex.routing.certificate import Split
from bestex.routing.legs import Rules
from bestex.routing.search import Search
from bestex.routing.task import Task
from bestex.types import ChainClock, Mint, SwapMode
from bestex.venues.pool import Pool


def split(
    pools: Sequence[Pool],
    in_mint: Mint,
    amount: int,
    swap_mode: SwapMode,
    clock: ChainClock,
    *,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    bound_amount: int | None = None,
) -> Split:
    """The best split that is found of exactly `amount` base units, paid (exact_in) or received (exact_out).

    It is at least as good as the best single pool that the rules allow. With a `bound_amount` (exact_in), the bounds
    hold for all inputs up to that one. Raises NoRoute where the pools cannot trade so much, or the rules allow no legs
    that could.
    """
    return Search(Task(pools, in_mint, amount, swap_mode, clock, bound_amount=bound_amount), rules).run()


def fit_bound(pools: Sequence[Pool], in_mint: Mint, amount: int, clock: ChainClock, rules: Rules) -> int:
    """The most that a split within the rules could pay for any input up to `amount` base units. Raises NoRoute."""
    task = Task(pools, in_mint, amount, SwapMode.EXACT_IN, clock, bound_amount=amount)
    return Search(task, rules).bound()
