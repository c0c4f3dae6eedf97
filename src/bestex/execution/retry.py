"""What may be retried, how long to wait, when to stop."""

from solders.pubkey import Pubkey

from bestex.errors import (
    AttemptDead,
    BestexError,
    InsufficientFunds,
    NoRoute,
    NotSent,
    StaleMarket,
    TransactionFailed,
    Unavailable,
)
from bestex.orders.order import Order, OrderError
from bestex.ports import Entropy, TransactionError
from bestex.types import Routing
from bestex.venues import PROGRAMS
from bestex.venues.token import INSUFFICIENT_FUNDS, TOKEN_2022_PROGRAM, TOKEN_PROGRAM

SLIPPAGE_EXCEEDED = "SLIPPAGE_EXCEEDED"
"""An order error's code: a pool moved further than the order allows."""
_RETRYABLE = (NotSent, AttemptDead, NoRoute, StaleMarket, Unavailable)
_TOKEN_PROGRAMS = frozenset({str(TOKEN_PROGRAM), str(TOKEN_2022_PROGRAM)})
_OUT_OF_SOL = frozenset({"InsufficientFundsForFee", "InsufficientFundsForRent", "AccountNotFound"})


def order_error(error: BestexError) -> OrderError:
    """The error as the order keeps it: its code, whether trying again can help, and whether money can have moved."""
    return OrderError(
        code=str(error.context.get("order_code", error.code)),
        message=error.message,
        retryable=is_retryable(error),
        money_moved="no",
    )


def is_retryable(error: BestexError) -> bool:
    """Whether another try, with a fresh quote, can succeed."""
    if isinstance(error, TransactionFailed):
        return bool(error.context.get("retryable"))
    return isinstance(error, _RETRYABLE)


def failed_transaction(error: TransactionError, *, landed: bool) -> BestexError:
    """What a transaction's error means for its order.

    `landed`: it is on chain, and its fee is spent. Otherwise a simulation said so, and nothing was sent.
    """
    where = "The transaction failed on chain (its fee is spent, nothing was swapped)" if landed else "Simulation failed"
    if error.name in _OUT_OF_SOL or (error.program_id in _TOKEN_PROGRAMS and error.custom_code == INSUFFICIENT_FUNDS):
        return InsufficientFunds(f"{where}: the wallet does not hold what the swap needs. {error.message}".rstrip())
    code, reason = _name(error)
    return TransactionFailed(f"{where}: {reason}", retryable=True, order_code=code)


def backoff_ms(retries: int, base_s: float, max_s: float, entropy: Entropy) -> int:
    """Milliseconds to wait before retry number `retries + 1`: doubles each time, with up to a quarter on top."""
    wait_s = min(base_s * 2.0**retries, max_s)
    return round(wait_s * entropy.uniform(1.0, 1.25) * 1000)


def may_retry(order: Order, error: OrderError) -> bool:
    return error.retryable and order.retries < order.terms.max_retries


def next_routing(order: Order, *, direct: bool) -> Routing:
    """The routing of the order's next try; `direct`: whether the pair has pools of its own.

    After a try that failed because a pool moved, no path is taken if there is another way: paths fail soonest.
    """
    moved = order.error is not None and order.error.code == SLIPPAGE_EXCEEDED
    if moved and direct and order.terms.routing is Routing.AUTO:
        return Routing.SPLIT
    return order.terms.routing


def _name(error: TransactionError) -> tuple[str, str]:
    """A stable code for the order, and the reason in words."""
    program = PROGRAMS.get(Pubkey.from_string(error.program_id)) if error.program_id else None
    if program is None or error.custom_code is None:
        return TransactionFailed.code, f"{error.name} {error.message}".rstrip()
    name = f"{program.ERRORS.get(error.custom_code, 'unknown error')}, {error.custom_code}"
    if error.custom_code in {refused.code for refused in program.SLIPPAGE_EXCEEDED.values()}:
        return SLIPPAGE_EXCEEDED, f"a pool would pay less than its part of the minimum, or ask more ({name})"
    return "SWAP_REFUSED", f"the pool refused the swap ({name})"
