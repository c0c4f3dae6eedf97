"""What each event of an order says: the engine's decisions, put into words and numbers for people and programs."""

from decimal import Decimal
from itertools import groupby

from bestex.execution.building import Composition
from bestex.execution.journal import EventMaker
from bestex.orders.amount import price, to_units
from bestex.orders.attempt import Attempt
from bestex.orders.events import (
    Built,
    Canceled,
    Confirmed,
    Failed,
    Finalized,
    PoolQuote,
    Rejected,
    Resumed,
    Retrying,
    RolledBack,
    Routed,
    RoutedLeg,
    Submitted,
)
from bestex.orders.order import Order, OrderError, Terms, utc
from bestex.orders.status import Status
from bestex.ports import Blockhash, LandedTransaction
from bestex.routing.quote import Alternative, Leg, Offer, Route, shares
from bestex.solana.transaction import fee_lamports
from bestex.types import BPS, Signature, Slot, SwapMode


def routed(order: Order, route: Route) -> EventMaker:
    """Pending -> routing: all offers, the route that is taken, and how far from the best it can be."""
    terms, chosen = order.terms, route.biggest.pool
    quotes = [_pool_quote(terms, offer) for offer in route.offers]
    gap, over_single = route.optimality_gap, route.gain_over_single_bps
    return lambda header: Routed(
        **header,
        status=Status.ROUTING,
        attempt=order.attempts + 1,
        context_slot=route.context_slot,
        quotes=quotes,
        venue=chosen.venue,
        pool=str(chosen.address),
        in_amount=str(route.in_amount),
        out_amount=str(route.out_amount),
        other_amount_threshold=str(route.other_amount_threshold),
        price=price(route.in_amount, terms.in_decimals, route.out_amount, terms.out_decimals),
        price_impact_pct=percent_of_ppm(route.price_impact_ppm),
        gain_over_next_bps=_gain_over_next(route),
        routing=route.routing,
        kind=route.kind,
        legs=_legs(route),
        bound=None if route.bound is None else str(route.bound),
        bound_class=route.bound_class,
        optimality_gap=None if gap is None else str(gap),
        gain_over_single_bps=None if over_single is None else _two_decimals(over_single),
        network_cost=str(route.cost),
        alternatives=[_rejected(alternative) for alternative in route.alternatives],
    )


def _gain_over_next(route: Route) -> str | None:
    """How much better the route is than the best pool of the DEX that has not the best pool."""
    next_best = route.runner_up.quote if route.runner_up else None
    if next_best is None:
        return None
    if route.swap_mode is SwapMode.EXACT_IN:
        return bps_between(route.out_amount, next_best.out_amount)
    return bps_between(2 * next_best.in_amount - route.in_amount, next_best.in_amount)


def _legs(route: Route) -> list[RoutedLeg]:
    told: list[RoutedLeg] = []
    for _, hop in groupby(route.legs, key=lambda leg: leg.hop):
        legs = list(hop)
        told += map(_leg, legs, shares([leg.in_amount for leg in legs], BPS))
    return told


def _leg(leg: Leg, bps: int) -> RoutedLeg:
    return RoutedLeg(
        venue=leg.pool.venue,
        dex=leg.pool.venue.dex,
        pool=str(leg.pool.address),
        input_mint=str(leg.in_mint),
        output_mint=str(leg.out_mint),
        in_amount=str(leg.in_amount),
        out_amount=str(leg.out_amount),
        other_amount_threshold=str(leg.other_amount_threshold),
        fee_amount=str(leg.fee_amount),
        fee_mint=str(leg.fee_mint),
        bps=bps,
        hop=leg.hop,
    )


def _rejected(alternative: Alternative) -> Rejected:
    paid, received = alternative.in_amount, alternative.out_amount
    return Rejected(
        kind=alternative.kind,
        mints=[str(mint) for mint in alternative.mints],
        pools=[str(pool) for pool in alternative.pools],
        in_amount=None if paid is None else str(paid),
        out_amount=None if received is None else str(received),
        reason=alternative.reason,
    )


def built(order: Order, composition: Composition, blockhash: Blockhash, unit_limit: int, unit_price: int) -> EventMaker:
    """Routing -> building: the transaction before it is simulated."""
    return lambda header: Built(
        **header,
        status=Status.BUILDING,
        attempt=order.attempts + 1,
        size_bytes=composition.draft.size_bytes,
        account_locks=composition.draft.account_locks,
        instructions=list(composition.steps),
        blockhash=blockhash.blockhash,
        last_valid_block_height=blockhash.last_valid_block_height,
        compute_unit_limit=unit_limit,
        compute_unit_price_micro_lamports=unit_price,
        max_fee_lamports=fee_lamports(unit_limit, unit_price),
    )


def submitted(attempt: Attempt, unit_limit: int) -> EventMaker:
    """Building -> submitted: from here on the transaction may land."""
    return lambda header: Submitted(
        **header,
        status=Status.SUBMITTED,
        attempt=attempt.number,
        tx_hash=attempt.signature,
        compute_unit_limit=unit_limit,
        fee_lamports=attempt.fee_lamports,
        min_out_amount=str(attempt.min_out_amount),
        max_in_amount=None if attempt.max_in_amount in (None, attempt.in_amount) else str(attempt.max_in_amount),
    )


def confirmed(
    terms: Terms, attempt: Attempt, transaction: LandedTransaction, paid: int, received: int, *, simulated: bool
) -> EventMaker:
    """Submitted -> confirmed: what really moved."""
    better, quoted = received - attempt.quoted_out_amount, attempt.quoted_out_amount
    if terms.swap_mode is SwapMode.EXACT_OUT:
        better, quoted = attempt.in_amount - paid, attempt.in_amount
    return lambda header: Confirmed(
        **header,
        status=Status.CONFIRMED,
        attempt=attempt.number,
        tx_hash=attempt.signature,
        slot=transaction.slot,
        venue=attempt.venue,
        pool=attempt.pool,
        amount_in=to_units(paid, terms.in_decimals),
        amount_out=to_units(received, terms.out_decimals),
        in_amount=str(paid),
        out_amount=str(received),
        executed_price=price(paid, terms.in_decimals, received, terms.out_decimals),
        price_unit=f"{terms.token_out} per {terms.token_in}",
        slippage_bps_realized=bps_between(quoted + better, quoted),
        quote_difference=str(better),
        legs=attempt.swaps or [f"{attempt.venue}:{attempt.pool}"],
        fee_lamports=transaction.fee_lamports,
        simulated=simulated,
    )


def finalized(signature: Signature, slot: Slot) -> EventMaker:
    """Confirmed, and no fork can undo it."""
    return lambda header: Finalized(**header, status=Status.CONFIRMED, tx_hash=signature, slot=slot)


def rolled_back(signature: Signature, explanation: str) -> EventMaker:
    """Confirmed -> submitted: a fork dropped the block."""
    return lambda header: RolledBack(**header, status=Status.SUBMITTED, tx_hash=signature, explanation=explanation)


def resumed() -> EventMaker:
    """Routing or building -> pending: the worker stopped before anything was sent."""
    return lambda header: Resumed(
        **header,
        status=Status.PENDING,
        explanation="the worker stopped before anything was signed; the order starts again",
    )


def retrying(order: Order, error: OrderError, retry_at_ms: int) -> EventMaker:
    """-> pending: what went wrong, and when the next try begins."""
    return lambda header: Retrying(
        **header,
        status=Status.PENDING,
        attempt=order.attempts,
        error=error,
        retry_at=utc(retry_at_ms),
        retries_left=order.terms.max_retries - order.retries - 1,
    )


def failed(error: OrderError, attempt: Attempt | None) -> EventMaker:
    """-> failed: no further try."""
    return lambda header: Failed(
        **header, status=Status.FAILED, error=error, tx_hash=attempt.signature if attempt else None
    )


def canceled(error: OrderError) -> EventMaker:
    """Submitted -> canceled: the attempt did not fill, and the client had asked."""
    return lambda header: Canceled(
        **header, status=Status.CANCELED, explanation=f"canceled as requested; {error.message}"
    )


def bps_between(amount: int, reference: int) -> str:
    """How far `amount` is from `reference`, in basis points with two decimals; negative: less."""
    if reference == 0:
        return "0"
    return _two_decimals(Decimal((amount - reference) * BPS) / reference)


def percent_of_ppm(ppm: int) -> str:
    """Millionths as percent: 1234 -> 0.1234."""
    return to_units(ppm, 4)


def _pool_quote(terms: Terms, offer: Offer) -> PoolQuote:
    pool, quote = offer.pool, offer.quote
    if quote is None:
        return PoolQuote(venue=pool.venue, dex=pool.venue.dex, pool=str(pool.address), error=offer.refusal)
    return PoolQuote(
        venue=pool.venue,
        dex=pool.venue.dex,
        pool=str(pool.address),
        in_amount=str(quote.in_amount),
        out_amount=str(quote.out_amount),
        price=price(quote.in_amount, terms.in_decimals, quote.out_amount, terms.out_decimals),
        fee_amount=str(quote.fee_amount),
    )


def _two_decimals(value: Decimal) -> str:
    return f"{value:.2f}"
