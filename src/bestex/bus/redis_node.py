"""The local end of the bus: what comes from afar can have gaps, and its readers are told."""

from bestex.bus.local import LocalBus, LocalSubscription
from bestex.types import OrderId


class NodeSubscription(LocalSubscription):
    """A subscription that can lose events on their way to this node."""

    def lose(self) -> None:
        """End: the reader gets what is buffered, and then has to subscribe again and read the store."""
        self.lost = True
        self._bus.remove(self._order_id, self)
        self._wake()


class NodeBus(LocalBus):
    """A `LocalBus` that knows that it can have missed something."""

    def __init__(self, *, buffer_events: int, recent_orders: int = 0) -> None:
        super().__init__(buffer_events=buffer_events, recent_orders=recent_orders)
        self.hears = False
        """Whether other nodes are heard now."""

    def subscribe(self, order_id: OrderId) -> NodeSubscription:
        """As `Bus.subscribe`."""
        recent = (self._recent.get(order_id) or ()) if self.hears else ()
        subscription = NodeSubscription(self, order_id, self._buffer_events, recent)
        self._subscriptions.setdefault(order_id, []).append(subscription)
        return subscription

    def lose(self) -> None:
        """Events may have been missed: end all subscriptions, so that their readers read the store."""
        self.forget()
        for watching in list(self._subscriptions.values()):
            for subscription in tuple(watching):
                assert isinstance(subscription, NodeSubscription)
                subscription.lose()
