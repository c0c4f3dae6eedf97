"""From a client's request to an order on disk; and the client's way to take it back."""

from collections.abc import Callable

import msgspec

from bestex.errors import InvalidOrder, NoRoute, StaleVersion
from bestex.execution.quoting import no_pools
from bestex.market.tokens import Tokens
from bestex.orders.amount import to_raw, to_units
from bestex.orders.events import Accepted, Canceled, CancelRequested, Event
from bestex.orders.order import IdempotencyKeys, Order, OrderType, Terms, new_order_id, request_hash, utc
from bestex.orders.reduce import advance
from bestex.orders.status import Status
from bestex.ports import Acceptance, Bus, Change, Clock, Entropy, Store
from bestex.types import OrderId, Routing, SwapMode, Token


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A well-formed request; whether it makes sense is for `Intake` to say."""

    type: OrderType
    token_in: str
    """Symbol or mint address."""
    token_out: str
    amount_in: str | None = None
    """For exact_in. Token units, as decimal text."""
    user_id: str
    slippage_bps: int | None = None
    swap_mode: SwapMode = SwapMode.EXACT_IN
    routing: Routing = Routing.AUTO
    amount_out: str | None = None
    """For exact_out."""
    max_amount_in: str | None = None
    """The most to pay, for exact_out."""
    priority: int = 0
    client_order_id: str | None = None
    max_retries: int | None = None
    idempotency_key: str | None = None


class Intake:
    """Takes orders in, and takes them back."""

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        clock: Clock,
        entropy: Entropy,
        tokens: Tokens,
        has_pools: Callable[[Token, Token, SwapMode, Routing], bool],
        slippage_bps: int,
        max_attempts: int,
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._entropy = entropy
        self._tokens = tokens
        self._has_pools = has_pools
        self._slippage_bps = slippage_bps
        self._max_attempts = max_attempts

    async def place(self, request: OrderRequest) -> Acceptance:
        """Store the order. When this returns, it is on disk; the same request again finds the same order.

        Raises OrderDenied (nothing is stored), IdempotencyMismatch, StoreUnavailable.
        """
        terms = self._terms(request)
        order, event = self._new_order(terms)
        keys = IdempotencyKeys(
            account=request.user_id,
            request_hash=request_hash(terms),
            client_order_id=request.client_order_id,
            header_key=request.idempotency_key,
        )
        acceptance = await self._store.accept(order, event, keys)
        if acceptance.created:
            self._bus.wake()
        return acceptance

    async def cancel(self, order_id: OrderId) -> Order:
        """Cancel an order, or ask for it once its transaction may land.

        Raises OrderNotFound, and IllegalTransition when the order has ended or its swap has landed.
        """
        while True:
            order = await self._store.order(order_id)
            if order.cancel_requested and not order.is_terminal:
                return order
            event = self._cancellation(order)
            after = advance(order, event)
            try:
                await self._store.record(Change(order=after, events=(event,)))
            except StaleVersion:  # a worker was faster: look again
                continue
            return after

    def _terms(self, request: OrderRequest) -> Terms:
        token_in = self._tokens.find(request.token_in)
        token_out = self._tokens.find(request.token_out)
        if token_in.mint == token_out.mint:
            raise InvalidOrder(f"tokenIn and tokenOut are both {token_in.symbol}")
        in_amount, out_amount, max_in_amount = _amounts(request, token_in, token_out)
        if not self._has_pools(token_in, token_out, request.swap_mode, request.routing):
            raise NoRoute(no_pools(token_in, token_out, request.swap_mode, request.routing))
        retries = self._max_attempts - 1
        if request.max_retries is not None:
            retries = min(retries, request.max_retries)
        return Terms(
            type=request.type,
            user_id=request.user_id,
            token_in=token_in.symbol,
            token_out=token_out.symbol,
            in_mint=str(token_in.mint),
            out_mint=str(token_out.mint),
            in_decimals=token_in.decimals,
            out_decimals=token_out.decimals,
            in_amount=in_amount,
            slippage_bps=self._slippage_bps if request.slippage_bps is None else request.slippage_bps,
            priority=request.priority,
            max_retries=retries,
            client_order_id=request.client_order_id,
            swap_mode=request.swap_mode,
            routing=request.routing,
            out_amount=out_amount,
            max_in_amount=max_in_amount,
        )

    def _new_order(self, terms: Terms) -> tuple[Order, Event]:
        now_ms = self._clock.now_ms()
        order = Order(
            id=new_order_id(now_ms, self._entropy.bytes(10)),
            terms=terms,
            status=Status.PENDING,
            seq=1,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            due_at_ms=now_ms,
        )
        event = Accepted(
            order_id=order.id,
            seq=1,
            status=Status.PENDING,
            at=utc(now_ms),
            type=terms.type,
            user_id=terms.user_id,
            token_in=terms.token_in,
            token_out=terms.token_out,
            amount_in=_units(terms.in_amount, terms.in_decimals),
            in_amount=_text(terms.in_amount),
            slippage_bps=terms.slippage_bps,
            priority=terms.priority,
            client_order_id=terms.client_order_id,
            swap_mode=terms.swap_mode,
            routing=terms.routing,
            amount_out=_units(terms.out_amount, terms.out_decimals),
            out_amount=_text(terms.out_amount),
            max_amount_in=_units(terms.max_in_amount, terms.in_decimals),
            max_in_amount=_text(terms.max_in_amount),
        )
        return order, event

    def _cancellation(self, order: Order) -> Event:
        at = utc(self._clock.now_ms())
        if order.status is Status.SUBMITTED:
            return CancelRequested(
                order_id=order.id,
                seq=order.seq + 1,
                status=order.status,
                at=at,
                explanation="the transaction may land: canceled only if it is proven dead",
            )
        return Canceled(
            order_id=order.id,
            seq=order.seq + 1,
            status=Status.CANCELED,
            at=at,
            explanation="canceled by the client before anything was sent",
        )


def _amounts(request: OrderRequest, token_in: Token, token_out: Token) -> tuple[int, int | None, int | None]:
    """What is paid (0: not fixed), what is received and the most to pay, base units. Raises InvalidOrder."""
    if request.swap_mode is SwapMode.EXACT_IN:
        if request.amount_in is None or request.amount_out is not None or request.max_amount_in is not None:
            raise InvalidOrder("an exact_in order has an amountIn, and neither an amountOut nor a maxAmountIn")
        return to_raw(request.amount_in, token_in.decimals), None, None
    if request.amount_out is None or request.amount_in is not None:
        raise InvalidOrder("an exact_out order has an amountOut and no amountIn; maxAmountIn limits what it pays")
    most = None if request.max_amount_in is None else to_raw(request.max_amount_in, token_in.decimals)
    return 0, to_raw(request.amount_out, token_out.decimals), most


def _units(amount: int | None, decimals: int) -> str | None:
    return to_units(amount, decimals) if amount else None


def _text(amount: int | None) -> str | None:
    return str(amount) if amount else None
