"""What the API needs from the rest of the engine."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bestex.api.metrics import Metrics
from bestex.config import Settings
from bestex.execution.intake import Intake
from bestex.execution.quoting import Quoting
from bestex.market.book import Book
from bestex.market.tokens import Tokens
from bestex.ports import Bus, Clock, Store

_HEALING = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Everything behind the API, put together by the composition root."""

    settings: Settings
    store: Store
    bus: Bus
    intake: Intake
    quoting: Quoting
    book: Book
    tokens: Tokens
    clock: Clock
    metrics: Metrics
    simulated: bool
    """Whether the cluster behind all this is a paper cluster; said in every answer about money."""
    ready: Callable[[], Awaitable[None]]
    """Returns when the engine can take and execute orders; raises otherwise."""
    healing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_HEALING))
    """So many streams at once look into the store for what the bus has lost: it may have lost it for all of them."""
