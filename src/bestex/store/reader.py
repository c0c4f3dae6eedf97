"""Reads what is committed, on a connection of its own."""

from typing import Any

import apsw

from bestex.errors import OrderNotFound, StoreUnavailable
from bestex.orders.attempt import Attempt
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.store import rows, statements
from bestex.store.commit import Operation
from bestex.store.database import Bindings, reachable, text
from bestex.store.operations import ReadEvents, ReadOrder

_sql = statements.load("read")


class Reader:
    """Owns the connection that reads. Everything here raises StoreUnavailable."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def run(self, operations: list[Operation[Any]]) -> None:
        """Answer the operations, each sort with one statement."""
        try:
            self._read_orders([each for each in operations if isinstance(each, ReadOrder)])
            self._read_events([each for each in operations if isinstance(each, ReadEvents)])
        except StoreUnavailable as error:
            for operation in operations:
                operation.answer = StoreUnavailable(error.message, **error.context)

    def attempts(self, order_id: str) -> list[Attempt]:
        """As `Store.attempts`."""
        return rows.decode_attempts(self._text("attempts", (order_id,)))

    def page(self, user_id: str | None, before: int, limit: int) -> list[tuple[int, Order]]:
        """Orders with their numbers, newest first, from below the number `before` on."""
        name = "page" if user_id is None else "page_of_user"
        return rows.decode_page(self._text(name, {"user_id": user_id, "before": before, "limit": limit}))

    def page_ended(self, user_id: str | None, status: Status, before: int, limit: int) -> list[tuple[int, Order]]:
        """As `page`, of orders that are terminal, in one status."""
        name = "page_ended" if user_id is None else "page_ended_of_user"
        bindings = {"user_id": user_id, "status": str(status), "before": before, "limit": limit}
        return rows.decode_page(self._text(name, bindings))

    def _read_orders(self, operations: list[ReadOrder]) -> None:
        if not operations:
            return
        listed = self._text("orders", (rows.encode([each.order_id for each in operations]),))
        found: dict[str, Order] = {order.id: order for order in rows.decode_orders(listed)}
        for operation in operations:
            order_id = operation.order_id
            operation.answer = found.get(order_id) or OrderNotFound(f"there is no order {order_id}", order_id=order_id)

    def _read_events(self, operations: list[ReadEvents]) -> None:
        if not operations:
            return
        listed = self._text("events", (rows.encode([(each.order_id, each.from_seq) for each in operations]),))
        found = rows.decode_events(listed, [each.order_id for each in operations])
        for operation, events in zip(operations, found, strict=True):
            operation.answer = events

    def _text(self, name: str, bindings: Bindings) -> str:
        with reachable():
            return text(self._connection, _sql[name], bindings)
