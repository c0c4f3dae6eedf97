"""What dashboards and alerts read: counters and latencies in Prometheus' format, on a registry of their own.

What happens for every event or request is counted in plain integers, and given to Prometheus when it asks.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from bestex.orders.status import Status
from bestex.ports import Clock, Committed, QueueStats
from bestex.types import OrderId

CONTENT_TYPE = CONTENT_TYPE_LATEST

_STAGE_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_MOST_OPEN = 100_000
"""Orders whose stages are timed at once; beyond, the oldest are forgotten."""


class _Name(msgspec.Struct, gc=False):
    """The part of an event's JSON that is counted."""

    event: str


class _Open(msgspec.Struct, gc=False):
    """An order that is being timed."""

    status: Status
    since_s: float
    accepted_s: float | None
    """None: another process accepted it."""


class _Watched(NamedTuple):
    """A number that somebody else keeps."""

    family: Callable[..., Metric]
    name: str
    meaning: str
    read: Callable[[], float]


_event_name = msgspec.json.Decoder(_Name).decode


class Metrics:
    """All metrics of one process."""

    def __init__(self, clock: Clock, *, times_orders: bool = True) -> None:
        """`times_orders` False: the process never sees how its orders end."""
        self._clock = clock
        self._times_orders = times_orders
        self._open: dict[OrderId, _Open] = {}
        self._events: Counter[tuple[str, Status]] = Counter()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._latencies: dict[tuple[str, str], Histogram] = {}
        self.websockets_open = 0
        self._messages = 0
        self._queue: QueueStats | None = None
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        stages = self._histogram("order_stage", "How long orders stay in a status, commit to commit.", _STAGE_BUCKETS)
        ends = self._histogram("order", "From acceptance to the fill, or to the end without one.", _STAGE_BUCKETS)
        self._stages = {status: stages.labels(status.value) for status in Status}
        self._ends = {status: ends.labels(status.value) for status in Status}
        self._request_seconds = Histogram(
            "bestex_http_request_seconds",
            "From an HTTP request to its answer.",
            ("method", "route"),
            registry=self.registry,
            buckets=_REQUEST_BUCKETS,
        )
        self._call_seconds = Histogram(
            "bestex_rpc_request_seconds",
            "From a call to the cluster's node to its answer or failure.",
            ("method",),
            registry=self.registry,
            buckets=_REQUEST_BUCKETS,
        )
        self._calls: dict[str, Histogram] = {}
        self._call_errors: Counter[tuple[str, str]] = Counter()
        self._watched: list[_Watched] = []
        self._batch_sizes = Histogram(
            "bestex_store_commit_operations", "Writes in one commit.", registry=self.registry, buckets=_BATCH_BUCKETS
        )
        self._batch_seconds = Histogram(
            "bestex_store_commit_seconds", "Time of one commit.", registry=self.registry, buckets=_COMMIT_BUCKETS
        )

    def observe_commits(self, events: Sequence[Committed]) -> None:
        """Count and time events that are on disk: a listener for `Store.on_commit`."""
        now_s, now_ms = self._clock.monotonic_s(), self._clock.now_ms()
        ages_s = {
            event.order_id: (now_ms - event.order.created_at_ms) / 1000 for event in events if event.order is not None
        }
        for event in events:
            self._events[_event_name(event.payload).event, event.status] += 1
            if self._times_orders:
                self._time(event, now_s, ages_s.get(event.order_id))

    def observe_batch(self, operations: int, seconds: float) -> None:
        """Note one commit of the store: how many writes it held, and how long it took. From any thread."""
        self._batch_sizes.observe(operations)
        self._batch_seconds.observe(seconds)

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count and time an HTTP request by its route's template."""
        self._requests[method, route, status] += 1
        latency = self._latencies.get((method, route))
        if latency is None:
            latency = self._latencies[method, route] = self._request_seconds.labels(method, route)
        latency.observe(seconds)

    def observe_call(self, method: str, seconds: float, failure: str | None) -> None:
        """Note one call to the cluster's node; `failure` is the code of the error that it ended with."""
        latency = self._calls.get(method)
        if latency is None:
            latency = self._calls[method] = self._call_seconds.labels(method)
        latency.observe(seconds)
        if failure is not None:
            self._call_errors[method, failure] += 1

    def watch(self, family: Callable[..., Metric], name: str, meaning: str, read: Callable[[], float]) -> None:
        """Show what `read` says whenever Prometheus asks. `family`: GaugeMetricFamily or CounterMetricFamily."""
        self._watched.append(_Watched(family, f"bestex_{name}", meaning, read))

    @contextmanager
    def open_websocket(self) -> Iterator[None]:
        """Count a WebSocket as open while the block runs."""
        self.websockets_open += 1
        try:
            yield
        finally:
            self.websockets_open -= 1

    def add_messages(self, count: int) -> None:
        """Count events that were sent to a WebSocket."""
        self._messages += count

    def exposition(self, queue: QueueStats | None) -> bytes:
        """Everything in Prometheus' text format; without the queue when its state is not known."""
        self._queue = queue
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """What is counted in plain integers, for the registry."""
        events = CounterMetricFamily("bestex_order_events", "Events committed.", labels=("event", "status"))
        for (name, status), count in self._events.items():
            events.add_metric((name, status.value), count)
        yield events
        retries = sum(count for (name, _), count in self._events.items() if name == "retrying")
        yield CounterMetricFamily("bestex_order_retries", "Tries that failed and were put off.", value=retries)
        requests = CounterMetricFamily("bestex_http_requests", "HTTP requests.", labels=("method", "route", "status"))
        for (method, route, code), count in self._requests.items():
            requests.add_metric((method, route, str(code)), count)
        yield requests
        failures = CounterMetricFamily(
            "bestex_rpc_errors", "Calls to the cluster's node that failed.", labels=("method", "code")
        )
        for (method, failure), count in self._call_errors.items():
            failures.add_metric((method, failure), count)
        yield failures
        for each in self._watched:
            yield each.family(each.name, each.meaning, value=each.read())
        yield GaugeMetricFamily("bestex_websockets_open", "WebSockets that are open.", value=self.websockets_open)
        yield CounterMetricFamily("bestex_websocket_messages", "Events sent to WebSockets.", value=self._messages)
        if self._queue is not None:
            yield from self._collect_queue(self._queue)

    def _collect_queue(self, queue: QueueStats) -> Iterator[Metric]:
        depths = GaugeMetricFamily("bestex_queue_orders", "Orders in the queue.", labels=("state",))
        for state, count in (("waiting", queue.waiting), ("delayed", queue.delayed), ("in_work", queue.in_work)):
            depths.add_metric((state,), count)
        yield depths
        orders = GaugeMetricFamily("bestex_orders", "Orders stored.", labels=("status",))
        for status in Status:
            orders.add_metric((status.value,), queue.by_status.get(status, 0))
        yield orders
        oldest_ms = queue.oldest_waiting_ms
        age_s = 0.0 if oldest_ms is None else max(0, self._clock.now_ms() - oldest_ms) / 1000
        yield GaugeMetricFamily("bestex_queue_oldest_seconds", "Age of the oldest waiting order.", value=age_s)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"bestex_{name}_seconds", meaning, ("status",), registry=self.registry, buckets=buckets)

    def _time(self, event: Committed, now_s: float, age_s: float | None) -> None:
        """`age_s`: how long ago the order was accepted, by the clock of whoever did it; None: not known."""
        known = self._open.get(event.order_id)
        if known is None:
            known = self._first_seen(event, now_s, None if age_s is None else now_s - max(0.0, age_s))
            if known is None:
                return
        if event.status is not known.status or event.final:
            self._stages[known.status].observe(now_s - known.since_s)
            if known.accepted_s is not None and _decides(event, known.status):
                self._ends[event.status].observe(now_s - known.accepted_s)
            known.status, known.since_s = event.status, now_s
        if event.final:
            del self._open[event.order_id]

    def _first_seen(self, event: Committed, now_s: float, accepted_s: float | None) -> _Open | None:
        """Begin to time an order; what there is to time already, if another process accepted it."""
        if event.final:
            return None
        fresh = event.seq == 2 and accepted_s is not None
        opened = _Open(
            Status.PENDING if fresh else event.status,
            accepted_s if fresh and accepted_s is not None else now_s,
            now_s if event.seq == 1 else accepted_s,
        )
        self._open[event.order_id] = opened
        if len(self._open) > _MOST_OPEN:
            del self._open[next(iter(self._open))]
        return opened if fresh else None


def _decides(event: Committed, before: Status) -> bool:
    """Whether the event is the order's fill, or its end without one."""
    if event.status is Status.CONFIRMED:
        return before is not Status.CONFIRMED
    return event.final
