"""Orders, and the events of their lives, as the engine would make them."""

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from bestex.orders import events as made
from bestex.orders.attempt import Attempt, AttemptState
from bestex.orders.events import Event
from bestex.orders.order import IdempotencyKeys, Order, OrderError, OrderType, Terms, new_order_id, utc
from bestex.orders.reduce import advance
from bestex.orders.status import Status
from bestex.ports import Change
from bestex.types import Signature

NOW_MS = 1_767_225_600_000
SOL = "So11111111111111111111111111111111111111112"
USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
POOL = "58oQChx4yWmvKdwLLZzBi4ChoCc2fqCUWBkwMq6VBDf6"[:44]
BLOCKHASH = "EkSnNWid2cvwEVnVx9aBqawnmiCNiDgp3gUdkDPTKN1N"


def terms(**changes: Any) -> Terms:
    """A market order over one SOL."""
    made_terms = Terms(
        type=OrderType.MARKET,
        user_id="alice",
        token_in="SOL",
        token_out="USDC",
        in_mint=SOL,
        out_mint=USDC,
        in_decimals=9,
        out_decimals=6,
        in_amount=1_000_000_000,
        slippage_bps=50,
    )
    return msgspec.structs.replace(made_terms, **changes)


def pending(number: int, *, at_ms: int = NOW_MS, due_at_ms: int | None = None, **of_terms: Any) -> tuple[Order, Event]:
    """The order with this number, and its first event. Orders with greater numbers are younger."""
    random = hashlib.sha256(number.to_bytes(8)).digest()[:10]
    order = Order(
        id=new_order_id(at_ms + number, random),
        terms=terms(**of_terms),
        status=Status.PENDING,
        seq=1,
        created_at_ms=at_ms + number,
        updated_at_ms=at_ms + number,
        due_at_ms=at_ms + number if due_at_ms is None else due_at_ms,
    )
    event = made.Accepted(
        order_id=order.id,
        seq=1,
        status=Status.PENDING,
        at=utc(order.created_at_ms),
        type=order.terms.type,
        user_id=order.terms.user_id,
        token_in="SOL",
        token_out="USDC",
        amount_in="1",
        in_amount=str(order.terms.in_amount),
        slippage_bps=order.terms.slippage_bps,
        priority=order.terms.priority,
        client_order_id=order.terms.client_order_id,
    )
    return order, event


def keys(account: str = "alice", request_hash: str = "same", **of_kinds: str | None) -> IdempotencyKeys:
    """No keys, or those that are given."""
    return IdempotencyKeys(account=account, request_hash=request_hash, **of_kinds)


def attempt(order: Order, number: int = 1, **changes: Any) -> Attempt:
    """A prepared attempt; its signature and its bytes come from the order's id and the number."""
    seed = hashlib.sha512(f"{order.id}/{number}".encode()).hexdigest()
    first = Attempt(
        order_id=order.id,
        number=number,
        state=AttemptState.PREPARED,
        signature=Signature(seed[:88]),
        transaction=bytes.fromhex(seed) * 8,
        blockhash=BLOCKHASH,
        last_valid_block_height=250_000_000,
        in_amount=order.terms.in_amount,
        quoted_out_amount=150_250_000,
        min_out_amount=149_498_750,
        venue="raydium_cpmm",
        pool=POOL,
        fee_lamports=6_400,
        created_at_ms=order.updated_at_ms,
    )
    return msgspec.structs.replace(first, **changes)


@dataclass
class Life:
    """An order that goes on, step by step."""

    order: Order

    def change(self, *events: Event, attempt: Attempt | None = None, release: bool = False, **also: Any) -> Change:
        """The step with these events, which have been taken by the order already."""
        order = msgspec.structs.replace(self.order, **also) if also else self.order
        return Change(order=order, events=events, attempt=attempt, release=release)

    def take(self, event: Event) -> Event:
        self.order = advance(self.order, event)
        return event

    def routed(self) -> Event:
        quotes = [
            made.PoolQuote(
                venue=venue,
                dex=venue.split("_", maxsplit=1)[0],
                pool=POOL,
                out_amount="150250000",
                price="150.25",
                fee_amount="2500000",
            )
            for venue in ("raydium_cpmm", "raydium_cpmm", "meteora_dlmm")
        ]
        return self.take(
            made.Routed(
                **self._header(Status.ROUTING),
                attempt=self.order.attempts + 1,
                context_slot=250_000_000,
                quotes=quotes,
                venue="raydium_cpmm",
                pool=POOL,
                in_amount=str(self.order.terms.in_amount),
                out_amount="150250000",
                other_amount_threshold="149498750",
                price="150.25",
                price_impact_pct="0.0123",
                gain_over_next_bps="3.1",
            )
        )

    def built(self) -> Event:
        return self.take(
            made.Built(
                **self._header(Status.BUILDING),
                attempt=self.order.attempts + 1,
                size_bytes=611,
                account_locks=19,
                instructions=["setComputeUnitLimit", "setComputeUnitPrice", "createIdempotent", "swapBaseInput"],
                blockhash=BLOCKHASH,
                last_valid_block_height=250_000_000,
                compute_unit_limit=140_000,
                compute_unit_price_micro_lamports=10_000,
                max_fee_lamports=6_400,
            )
        )

    def submitted(self) -> Event:
        number = self.order.attempts + 1
        return self.take(
            made.Submitted(
                **self._header(Status.SUBMITTED),
                attempt=number,
                tx_hash=attempt(self.order, number).signature,
                compute_unit_limit=140_000,
                fee_lamports=6_400,
                min_out_amount="149498750",
            )
        )

    def confirmed(self) -> Event:
        return self.take(
            made.Confirmed(
                **self._header(Status.CONFIRMED),
                attempt=self.order.attempts,
                tx_hash=attempt(self.order, self.order.attempts).signature,
                slot=250_000_003,
                venue="raydium_cpmm",
                pool=POOL,
                amount_in="1",
                amount_out="150.25",
                in_amount=str(self.order.terms.in_amount),
                out_amount="150250000",
                executed_price="150.25",
                price_unit="USDC per SOL",
                slippage_bps_realized="0",
                fee_lamports=6_400,
            )
        )

    def finalized(self) -> Event:
        fill = self.order.fill
        assert fill is not None
        return self.take(made.Finalized(**self._header(Status.CONFIRMED), tx_hash=fill.signature, slot=fill.slot))

    def rolled_back(self) -> Event:
        return self.take(
            made.RolledBack(**self._header(Status.SUBMITTED), tx_hash="gone", explanation="the block was dropped")
        )

    def retrying(self, retry_at_ms: int) -> Event:
        return self.take(
            made.Retrying(
                **self._header(Status.PENDING),
                attempt=self.order.attempts,
                error=OrderError(code="NO_ROUTE", message="no pool", retryable=True, money_moved="no"),
                retry_at=utc(retry_at_ms),
                retries_left=1,
            )
        )

    def failed(self) -> Event:
        error = OrderError(code="NO_ROUTE", message='no "pool"\n', retryable=False, money_moved="no")
        return self.take(made.Failed(**self._header(Status.FAILED), error=error))

    def cancel_requested(self) -> Event:
        return self.take(made.CancelRequested(**self._header(self.order.status), explanation="asked"))

    def canceled(self) -> Event:
        return self.take(made.Canceled(**self._header(Status.CANCELED), explanation="by the client"))

    def expired(self) -> Event:
        return self.take(made.Expired(**self._header(Status.EXPIRED), explanation="its time is over"))

    def _header(self, status: Status) -> dict[str, Any]:
        return {
            "order_id": self.order.id,
            "seq": self.order.seq + 1,
            "status": status,
            "at": utc(self.order.updated_at_ms + 1),
        }
