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

    def subscribe(self, order_id: OrderId) -> NodeSubscription:
        """As `Bus.subscribe`."""
        subscription = NodeSubscription(self, order_id, self._buffer_events)
        self._subscriptions.setdefault(order_id, []).append(subscription)
        return subscription

    def lose(self) -> None:
        """Events may have been missed: end all subscriptions, so that their readers read the store."""
        for watching in list(self._subscriptions.values()):
            for subscription in tuple(watching):
                assert isinstance(subscription, NodeSubscription)
                subscription.lose()
