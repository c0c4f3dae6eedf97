"""Orders and attempts as the API shows them."""

from functools import lru_cache

from bestex.api.schemas import AttemptView, Links, OrderView, swap_mode_name
from bestex.orders.amount import price, to_units
from bestex.orders.attempt import Attempt
from bestex.orders.order import Order, utc
from bestex.orders.status import Status
from bestex.types import SwapMode


def iso(at_ms: int) -> str:
    """UTC with milliseconds: 2026-01-31T12:00:00.000Z."""
    second, millisecond = divmod(at_ms, 1000)
    return f"{_to_the_second(second)}.{millisecond:03d}Z"


def order_view(order: Order, *, simulated: bool) -> OrderView:
    """An order as it stands now. The amount that is not fixed by the terms is not known before the fill."""
    terms, fill = order.terms, order.fill
    exact_in, most = terms.swap_mode is SwapMode.EXACT_IN, terms.max_in_amount
    in_amount = terms.in_amount if exact_in else fill.in_amount if fill else None
    out_amount = fill.out_amount if fill else terms.out_amount
    return OrderView(
        id=order.id,
        order_id=order.id,
        type=terms.type,
        status=order.status,
        finality=order.finality,
        user_id=terms.user_id,
        client_order_id=terms.client_order_id,
        token_in=terms.token_in,
        token_out=terms.token_out,
        input_mint=terms.in_mint,
        output_mint=terms.out_mint,
        swap_mode=swap_mode_name(terms.swap_mode),
        routing=terms.routing,
        amount_in=None if in_amount is None else to_units(in_amount, terms.in_decimals),
        in_amount=None if in_amount is None else str(in_amount),
        amount_out=None if out_amount is None else to_units(out_amount, terms.out_decimals),
        out_amount=None if out_amount is None else str(out_amount),
        max_amount_in=None if most is None else to_units(most, terms.in_decimals),
        max_in_amount=None if most is None else str(most),
        executed_price=price(fill.in_amount, terms.in_decimals, fill.out_amount, terms.out_decimals) if fill else None,
        price_unit=f"{terms.token_out} per {terms.token_in}",
        tx_hash=fill.signature if fill else None,
        venue=fill.venue if fill else None,
        slot=fill.slot if fill else None,
        fee_lamports=fill.fee_lamports if fill else None,
        slippage_bps=terms.slippage_bps,
        priority=terms.priority,
        max_retries=terms.max_retries,
        retries=order.retries,
        attempt_count=order.attempts,
        retry_at=iso(order.due_at_ms) if order.status is Status.PENDING and order.retries else None,
        cancel_requested=order.cancel_requested,
        error=order.error,
        simulated=simulated,
        created_at=iso(order.created_at_ms),
        updated_at=iso(order.updated_at_ms),
        links=Links(f"/api/orders/{order.id}", f"/api/orders/{order.id}/ws"),
    )


def attempt_view(attempt: Attempt) -> AttemptView:
    """An attempt without the signed bytes: who holds them can send them."""
    return AttemptView(
        number=attempt.number,
        state=attempt.state,
        signature=attempt.signature,
        tx_hash=attempt.signature,
        blockhash=attempt.blockhash,
        last_valid_block_height=attempt.last_valid_block_height,
        in_amount=str(attempt.in_amount),
        max_in_amount=str(attempt.in_amount if attempt.max_in_amount is None else attempt.max_in_amount),
        quoted_out_amount=str(attempt.quoted_out_amount),
        min_out_amount=str(attempt.min_out_amount),
        venue=attempt.venue,
        pool=attempt.pool,
        swaps=attempt.swaps or [f"{attempt.venue}:{attempt.pool}"],
        fee_lamports=attempt.fee_lamports,
        slot=attempt.slot,
        error=attempt.error,
        created_at=iso(attempt.created_at_ms),
    )


@lru_cache(maxsize=4096)
def _to_the_second(second: int) -> str:
    return utc(second * 1000).strftime("%Y-%m-%dT%H:%M:%S")
