"""For operators and machines: health, metrics, the queue, the table of problems."""

import asyncio
from contextlib import suppress
from typing import Any

import structlog
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from bestex.api.handling import HttpRequest, front_of, problems_of
from bestex.api.metrics import CONTENT_TYPE
from bestex.api.problems import table
from bestex.api.refusals import NotReady
from bestex.api.schemas import Health, Limits, QueueView
from bestex.api.views import iso
from bestex.errors import BestexError, StoreUnavailable
from bestex.orders.status import Status
from bestex.ports import QueueStats

_READY_TIMEOUT_S = 3.0
"""An engine that needs longer to say that it is ready is not."""
_STATS_TIMEOUT_S = 1.0
"""A scrape has a few seconds for everything."""
_WINDOW_MS = 60_000

_log = structlog.get_logger(__name__)


@get("/health/live", tags=["Operations"], summary="Is the process alive?")
async def live(request: HttpRequest) -> Health:
    """200 as long as the server answers at all."""
    return Health("ok", front_of(request).simulated)


@get(
    ["/health", "/health/ready"],
    tags=["Operations"],
    summary="Can orders be taken and executed?",
    responses=problems_of(NotReady),
)
async def ready(request: HttpRequest) -> Health:
    """200 when the store, the market and the cluster are there, else 503."""
    front = front_of(request)
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            await front.ready()
    except TimeoutError as error:
        raise NotReady(f"the engine did not answer within {_READY_TIMEOUT_S:g} s") from error
    except BestexError as error:
        raise NotReady(error.message, cause=error.code) from error
    except Exception as error:
        _log.exception("the readiness check failed")
        raise NotReady("the readiness check failed; the log says why") from error
    return Health("ok", front.simulated)


@get(
    "/api/queue/stats",
    tags=["Operations"],
    summary="The queue's state",
    responses=problems_of(StoreUnavailable),
)
async def queue_stats(request: HttpRequest) -> QueueView:
    """How many orders wait, are in work, and have ended how."""
    front = front_of(request)
    settings = front.settings
    stats = await front.store.stats(front.clock.now_ms(), _WINDOW_MS)
    by_status = {status.value: stats.by_status.get(status, 0) for status in Status}
    return QueueView(
        waiting=stats.waiting,
        delayed=stats.delayed,
        in_work=stats.in_work,
        oldest_waiting_at=None if stats.oldest_waiting_ms is None else iso(stats.oldest_waiting_ms),
        started_in_last_minute=stats.started_in_window,
        by_status=by_status,
        **by_status,
        limits=Limits(
            concurrency=settings.concurrency,
            rate_per_minute=settings.rate_per_minute or None,
            max_attempts=settings.max_attempts,
        ),
        simulated=front.simulated,
    )


@get("/metrics", tags=["Operations"], summary="Metrics", media_type=CONTENT_TYPE)
async def metrics(request: HttpRequest) -> Response[bytes]:
    """Counters and latencies in Prometheus' text format."""
    front = front_of(request)
    stats: QueueStats | None = None
    with suppress(StoreUnavailable, TimeoutError):  # what the process itself knows is worth the more then
        async with asyncio.timeout(_STATS_TIMEOUT_S):
            stats = await front.store.stats(front.clock.now_ms(), _WINDOW_MS)
    return Response(front.metrics.exposition(stats), media_type=CONTENT_TYPE)


@get("/api/problems", tags=["Operations"], summary="The table of problems")
async def list_problems() -> list[dict[str, Any]]:
    """Every `code` that a problem may carry, and what it means."""
    return list(table())


HEALTH_ROUTES: tuple[HTTPRouteHandler, ...] = (live, ready, metrics)
OPS_ROUTES: tuple[HTTPRouteHandler, ...] = (*HEALTH_ROUTES, queue_stats, list_problems)
