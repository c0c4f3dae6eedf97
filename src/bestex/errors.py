"""Every error that Bestex raises on purpose.

    BestexError
    |- OrderDenied                we refused; nothing was sent
    |    InvalidOrder UnknownToken AmountOutOfRange NoRoute StaleMarket LimitExceeded TradingHalted InsufficientFunds
    |- OrderNotFound
    |- Conflict                   IdempotencyMismatch StaleVersion IllegalTransition
    |- ExecutionError
    |    NotSent                  nothing left the process; retry freely
    |    OutcomeUnknown           may yet land; only reconciliation may decide
    |    AttemptDead              proven never to land; a new attempt is allowed
    |    TransactionFailed        landed and failed on chain
    |- VenueError
    |    UnsupportedPool          a pool account whose features we do not implement: refused, never misquoted
    |    SwapRefused              the venue's program would refuse this swap, with the program's own error
    |- Unavailable                StoreUnavailable BusUnavailable ClusterUnavailable RateLimited
    `- ConfigError                at start-up only

An error's `code` is stable and part of the API; its message is for people and may change.
"""

from typing import ClassVar


class BestexError(Exception):
    """Base of all errors: a stable code, a message for people, and the facts as `context`."""

    code: ClassVar[str] = "BESTEX_ERROR"

    def __init__(self, message: str, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.context = context


class OrderDenied(BestexError):
    """We refused the order; nothing was sent."""

    code = "ORDER_DENIED"


class InvalidOrder(OrderDenied):
    """The request is not a well-formed order."""

    code = "INVALID_ORDER"


class UnknownToken(OrderDenied):
    """No token of this symbol or mint is known."""

    code = "UNKNOWN_TOKEN"


class AmountOutOfRange(OrderDenied):
    """The amount is not one that the token can express: not positive, too precise, or above u64."""

    code = "AMOUNT_OUT_OF_RANGE"


class NoRoute(OrderDenied):
    """No known pool can trade this amount of this pair."""

    code = "NO_ROUTE"


class StaleMarket(OrderDenied):
    """The pools' state is older than the configured limit."""

    code = "STALE_MARKET"


class LimitExceeded(OrderDenied):
    """A risk limit forbids the order."""

    code = "LIMIT_EXCEEDED"


class TradingHalted(OrderDenied):
    """Trading is switched off."""

    code = "TRADING_HALTED"


class InsufficientFunds(OrderDenied):
    """The wallet does not hold what the order spends."""

    code = "INSUFFICIENT_FUNDS"


class OrderNotFound(BestexError):
    """No order has this id."""

    code = "ORDER_NOT_FOUND"


class Conflict(BestexError):
    """The request contradicts what is stored."""

    code = "CONFLICT"


class IdempotencyMismatch(Conflict):
    """The same key was used before for a request with other content."""

    code = "IDEMPOTENCY_MISMATCH"


class StaleVersion(Conflict):
    """A write was fenced off: another worker has claimed the order since, or the order has moved on."""

    code = "STALE_VERSION"


class IllegalTransition(Conflict):
    """The order's status does not allow this change."""

    code = "ILLEGAL_TRANSITION"


class ExecutionError(BestexError):
    """An order was tried and did not succeed."""

    code = "EXECUTION_ERROR"


class NotSent(ExecutionError):
    """Nothing left the process; retry freely."""

    code = "NOT_SENT"


class OutcomeUnknown(ExecutionError):
    """The attempt may yet land; only reconciliation may decide."""

    code = "OUTCOME_UNKNOWN"


class AttemptDead(ExecutionError):
    """The attempt is proven never to land; a new attempt is allowed."""

    code = "ATTEMPT_DEAD"


class TransactionFailed(ExecutionError):
    """The transaction landed and failed on chain; its fee is spent, nothing was swapped."""

    code = "TRANSACTION_FAILED"


class VenueError(BestexError):
    """A venue's program, or our model of it, says no."""

    code = "VENUE_ERROR"


class UnsupportedPool(VenueError):
    """The pool account is malformed or uses features that are not implemented: refused rather than misquoted."""

    code = "UNSUPPORTED_POOL"


class SwapRefused(VenueError):
    """The venue's program would refuse this swap.

    `program_code` is the number in the program's own `custom program error`, None where the program would panic;
    `name` is the program's name for it; `kind` says what it means for a quote (see `bestex.venues.pool.Refusal`).
    """

    code = "SWAP_REFUSED"

    def __init__(self, message: str, *, program_code: int | None, name: str, kind: str, **context: object) -> None:
        super().__init__(message, program_code=program_code, name=name, kind=kind, **context)
        self.program_code = program_code
        self.name = name
        self.kind = kind


class Unavailable(BestexError):
    """Something that we depend on does not answer; trying again may help."""

    code = "UNAVAILABLE"


class StoreUnavailable(Unavailable):
    """The store cannot take or give data now."""

    code = "STORE_UNAVAILABLE"


class BusUnavailable(Unavailable):
    """The bus does not answer; the engine goes on without it."""

    code = "BUS_UNAVAILABLE"


class ClusterUnavailable(Unavailable):
    """No node of the cluster answers."""

    code = "CLUSTER_UNAVAILABLE"


class RateLimited(Unavailable):
    """Too many requests; wait before the next."""

    code = "RATE_LIMITED"


class ConfigError(BestexError):
    """The settings are wrong; nothing was opened."""

    code = "CONFIG_ERROR"
