"""PromQL, as far as it names metrics and labels; and what `/metrics` can answer."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from bestex.api.metrics import Metrics
from bestex.api.place import EXECUTE
from bestex.bus.redis import RedisBus
from bestex.bus.redis_link import RedisServer
from bestex.orders import events
from bestex.orders.status import Status
from bestex.ports import Committed, QueueStats
from bestex.runtime import SystemClock, SystemEntropy
from bestex.runtime.backends import show_bus
from bestex.types import OrderId

_SELECTOR = re.compile(r"\b((?:bestex|process)_\w+)\s*(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPED = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")
OF_PROMETHEUS = frozenset({"job", "instance"})


class Matcher(NamedTuple):
    """`label op "value"`."""

    label: str
    operator: str
    value: str


class Selector(NamedTuple):
    """A metric and what its labels must be."""

    metric: str
    matchers: list[Matcher]


def selectors(expression: str) -> Iterator[Selector]:
    """All in an expression."""
    for metric, matchers in _SELECTOR.findall(expression):
        yield Selector(metric, [Matcher(*found) for found in _MATCHER.findall(matchers)])


def grouped_by(expression: str) -> set[str]:
    """Labels in `by (...)` and `on (...)`."""
    return {label.strip() for found in _GROUPED.findall(expression) for label in found.split(",")}


def exposed() -> dict[str, dict[str, set[str]]]:
    """Each sample of `/metrics` by name, with the values that its labels can have."""
    metrics = Metrics(SystemClock())
    kinds = [cls for cls in vars(events).values() if isinstance(cls, type) and issubclass(cls, events.Header)]
    names = [str(cls.__struct_config__.tag) for cls in kinds if cls.__struct_config__.tag is not None]
    payloads = [msgspec.json.encode({"event": name}) for name in names]
    order = OrderId("order")
    metrics.observe_commits([Committed(order, 1, status, False, payload) for status in Status for payload in payloads])
    metrics.observe_batch(1, 0.001)
    metrics.observe_request("POST", EXECUTE, 201, 0.01)
    metrics.observe_request("GET", EXECUTE, 503, 0.01)
    metrics.observe_call("sendTransaction", 0.01, "CLUSTER_UNAVAILABLE")
    server = RedisServer("redis://nowhere", clock=SystemClock(), entropy=SystemEntropy(), timeout_s=1.0)
    show_bus(RedisBus(server, prefix="", buffer_events=1), metrics)
    stats = QueueStats(
        by_status={}, waiting=0, delayed=0, in_work=0, oldest_waiting_ms=None, started_in_window=0
    )  # fmt: skip
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(metrics.exposition(stats).decode()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found
