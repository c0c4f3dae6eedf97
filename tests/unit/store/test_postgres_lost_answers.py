"""Answers of PostgreSQL that are lost with the connection: what was asked for is done once, and answered."""

import asyncio
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import asyncpg
import pytest
from deploy.local.postgres import PostgresServer
from deploy.local.proxy import Proxy

from bestex.errors import StoreUnavailable
from bestex.runtime import SystemClock
from bestex.store import statements
from bestex.store.postgres import PostgresStore
from bestex.types import OrderId
from tests.support.orders import NOW_MS, Life, attempt, keys, pending
from tests.support.postgres import count

SETTLE = statements.load("postgres/write")["settle"]
LONG_S = 30.0
"""More than any restart takes."""


def through(proxy: Proxy, dsn: str) -> str:
    """The same database, by way of the proxy."""
    name = urlsplit(dsn).path
    return f"postgresql://bestex@{proxy.host}:{proxy.port}{name}?sslmode=disable"


def tells_of(text: str) -> Callable[[bytes], bool]:
    """Whether the client sends this: in the one statement of a batch, when it was prepared before."""
    return lambda data: text.encode() in data


@pytest.fixture
async def proxy(server: PostgresServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.socket) as opened:
        yield opened


@pytest.fixture
async def far(proxy: Proxy, dsn: str) -> AsyncIterator[PostgresStore]:
    """A store that is connected by way of the proxy, and has claimed before."""
    opened = PostgresStore(through(proxy, dsn), clock=SystemClock(), retry_for_s=LONG_S)
    await opened.open()
    await opened.claim("earlier", limit=1, now_ms=NOW_MS, lease_ms=1, rate=None)
    yield opened
    await opened.close()


async def met(proxy: Proxy) -> None:
    async with asyncio.timeout(LONG_S):
        await proxy.met.wait()


@pytest.mark.parametrize("committed", [True, False])
async def test_a_batch_whose_answer_was_lost(far: PostgresStore, proxy: Proxy, dsn: str, committed: bool) -> None:
    """The connection ends when the server has done it, or before it hears of it."""
    heard: list[tuple[OrderId, int]] = []
    far.on_commit(lambda events: heard.extend((event.order_id, event.seq) for event in events))
    order, event = pending(1)
    proxy.cut_at(tells_of(order.id), forward=committed)
    accepting = asyncio.ensure_future(far.accept(order, event, keys(client_order_id="k")))
    await met(proxy)
    assert await count(dsn, "open_orders") == committed
    answer = await accepting
    assert (answer.created, answer.order) == (True, order)
    assert heard == [(order.id, 1)]
    assert len(await far.events(order.id)) == 1


@pytest.mark.parametrize("committed", [True, False])
async def test_a_commit_whose_answer_was_lost(far: PostgresStore, proxy: Proxy, dsn: str, committed: bool) -> None:
    """Of a batch that had to look first: one of its keys was used before."""
    first = await far.accept(*pending(1), keys(client_order_id="k"))
    proxy.cut_at(tells_of("COMMIT;"), forward=committed)
    accepting = asyncio.gather(
        far.accept(*pending(2), keys(client_order_id="k")), far.accept(*pending(3), keys(client_order_id="l"))
    )
    await met(proxy)
    assert await count(dsn, "open_orders") == 1 + committed
    again, other = await accepting
    assert (again.created, again.order) == (False, first.order)
    assert other.created
    assert await count(dsn, "open_orders") == 2


@pytest.mark.parametrize("committed", [True, False])
async def test_a_claim_whose_answer_was_lost(far: PostgresStore, proxy: Proxy, committed: bool) -> None:
    """Nothing waits for the end of a lease, and nothing is claimed that is in work."""
    accepted = [await far.accept(*pending(number), keys()) for number in (1, 2, 3)]
    (in_work,) = (await far.claim("worker-1", limit=1, now_ms=NOW_MS + 9, lease_ms=1000, rate=None)).claims
    await far.renew("worker-1", [in_work.order.id], lease_until_ms=NOW_MS + 2000)
    proxy.cut_at(tells_of("worker-1"), forward=committed)
    answer = await far.claim("worker-1", limit=9, now_ms=NOW_MS + 1000, lease_ms=1000, rate=None)
    assert proxy.met.is_set()
    assert [each.order.id for each in answer.claims] == [each.order.id for each in accepted[1:]]
    assert [(each.order.lease_epoch, each.order.lease_until_ms) for each in answer.claims] == 2 * [(1, NOW_MS + 2000)]
    life = Life(answer.claims[0].order)
    await far.record(life.change(life.routed()))


async def test_an_unfinal_claim_whose_answer_was_lost(far: PostgresStore, proxy: Proxy) -> None:
    """With other claims of the same worker, at the same time and in the same batch: no order is given twice."""
    for number in (1, 2):
        await far.accept(*pending(number), keys())
    (claimed,) = (await far.claim("worker-1", limit=1, now_ms=NOW_MS + 9, lease_ms=1000, rate=None)).claims
    life = Life(claimed.order)
    events = [life.routed(), life.built(), life.submitted(), life.confirmed()]
    await far.record(life.change(*events, attempt=attempt(life.order), release=True))
    claims = {"limit": 9, "now_ms": NOW_MS + 5000, "lease_ms": 1000}

    async def claim() -> list[list[OrderId]]:
        answers = await asyncio.gather(
            far.claim("worker-1", rate=None, **claims),
            far.claim("worker-1", rate=None, **claims),
            far.claim_unfinal("worker-1", **claims),
        )
        return [[each.order.id for each in answer.claims] for answer in answers]

    proxy.cut_at(tells_of("worker-1"), forward=True)
    fresh, none, unfinal = await claim()
    assert proxy.met.is_set()
    assert (fresh, none, unfinal) == ([pending(2)[0].id], [], [claimed.order.id])
    assert await claim() == [[], [], []]
    proxy.cut_at(tells_of("worker-1"), forward=True)
    again = await far.claim_unfinal("worker-1", limit=9, now_ms=NOW_MS + 9000, lease_ms=1000)
    assert proxy.met.is_set()
    assert [each.order.id for each in again.claims] == unfinal


async def test_a_batch_that_was_given_up_cannot_be_written_later(far: PostgresStore, dsn: str) -> None:
    """A server may still have it to read, on a connection that is lost to us."""
    await far.ping()
    connection = await asyncpg.connect(dsn)
    ((writer, number),) = await connection.fetch("SELECT id, batch FROM writers")
    late = "SELECT beat($1, $2)"
    assert await connection.fetchval(SETTLE, writer, number) is True
    assert await connection.fetchval(SETTLE, writer, number + 1) is False
    assert await connection.fetchval(SETTLE, writer, number + 1) is False  # asked again: its answer was lost, too
    with pytest.raises(asyncpg.PostgresError, match="given up"):
        await connection.execute(late, writer, number + 1)
    await connection.execute(late, writer, number + 2)
    await connection.close()


async def test_an_outcome_that_stays_unknown_is_called_so(proxy: Proxy, dsn: str) -> None:
    store = PostgresStore(through(proxy, dsn), clock=SystemClock(), retry_for_s=0.0)
    await store.open()
    await store.ping()
    order, event = pending(1)
    proxy.cut_at(tells_of(order.id), forward=True)
    with pytest.raises(StoreUnavailable, match="unknown") as caught:
        await store.accept(order, event, keys())
    assert caught.value.context["outcome_unknown"] is True
    await store.accept(*pending(2), keys())
    await store.close()


async def test_a_server_that_says_nothing_is_taken_for_lost(proxy: Proxy, dsn: str) -> None:
    store = PostgresStore(through(proxy, dsn), clock=SystemClock(), retry_for_s=LONG_S, answer_s=0.2)
    await store.open()
    await store.ping()
    before = proxy.connections
    proxy.stall()
    accepting = asyncio.ensure_future(store.accept(*pending(1), keys()))
    async with asyncio.timeout(LONG_S):
        while proxy.connections == before:
            await asyncio.sleep(0.001)
    assert not accepting.done()
    proxy.heal()
    assert (await accepting).created
    assert await count(dsn, "open_orders") == 1
    await store.close()
