"""The real server out of disk space: it says so, loses nothing that it acknowledged, and goes on when there is room."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from bestex.client import AsyncClient
from bestex.client.errors import ApiError
from bestex.client.retry import Retry
from tests.crash.books import check_fills, check_streams
from tests.crash.tmpfs import SmallDisk, small_disk
from tests.crash.traffic import Traffic, details, place
from tests.support.process import ServerProcess

if sys.platform != "linux":
    pytest.skip("only Linux can set limits to another process", allow_module_level=True)

import resource

ROOM_BYTES = 6 * 1024 * 1024
"""More than the paper ledger's log ever needs, and less than the orders' log has before its first checkpoint."""
ORDERS_MOST = 1_000
AT_ONCE = 20


make_server = partial(
    ServerProcess,
    network="instant",
    paper_traders=False,
    concurrency=25,
    rate_per_minute=0,
    slippage_bps=300,
    lease_s=2,
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    server = make_server(tmp_path / "data")
    yield server
    await server.close()


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[SmallDisk]:
    folder = tmp_path / "data"
    folder.mkdir()
    async with small_disk(folder, size="24m") as disk:
        yield disk


@pytest.fixture
async def cramped(disk: SmallDisk) -> AsyncIterator[ServerProcess]:
    """A server whose paper chain, too, has its ledger on the small disk."""
    server = make_server(disk.folder, command=disk.command)
    yield server
    await server.close()


def limit_files(server: ServerProcess, most_bytes: int) -> None:
    """Let no file of the running server grow beyond this: its writes fail from there on."""
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))


async def ready(client: AsyncClient) -> bool:
    try:
        await client.health()
    except ApiError as error:
        if error.status != 503:
            raise
        return False
    return True


async def test_a_full_disk_is_told_and_survived(server: ServerProcess, tmp_path: Path) -> None:
    await server.start()
    limit_files(server, ROOM_BYTES)
    async with Traffic() as traffic, AsyncClient(server.url, retry=Retry(tries=1)) as client:
        asked = 0
        while await ready(client):
            assert asked < ORDERS_MOST, "the disk does not fill"
            if asked - traffic.ended < AT_ONCE:
                await traffic.begin(server.url, range(asked, asked + AT_ONCE))
                asked += AT_ONCE
            await asyncio.sleep(0.02)

        before = dict(traffic.accepted)
        with pytest.raises(ApiError, match="disk") as refused:
            await place(client, ORDERS_MOST)
        assert (refused.value.status, refused.value.code) == (503, "STORE_UNAVAILABLE")
        assert refused.value.retryable
        orders = await details(server.url, list(before.values())[-AT_ONCE:])
        assert len(orders) == AT_ONCE, "what was acknowledged can be read"

        limit_files(server, resource.RLIM_INFINITY)
        await traffic.until(lambda: len(traffic.accepted) == asked)
        assert await ready(client)
        await traffic.finish(within_s=30)
        await traffic.begin(server.url, [ORDERS_MOST])
        await traffic.finish(within_s=10)
        orders = await details(server.url, traffic.accepted.values())
    assert await server.terminate() == 0
    assert before.items() <= traffic.accepted.items()
    check_streams(traffic, orders)
    await check_fills(tmp_path / "data", orders)


async def run_into_the_full_disk(server: ServerProcess, disk: SmallDisk, traffic: Traffic) -> int:
    """Let nothing more fit while it trades, until it ends by itself; its exit code."""
    await server.start()
    await traffic.begin(server.url, range(AT_ONCE))
    await traffic.until(lambda: traffic.ended >= AT_ONCE // 2)
    await traffic.begin(server.url, range(AT_ONCE, 3 * AT_ONCE))
    disk.fill()
    await traffic.until(lambda: not server.running)
    return await server.exit_code()


async def test_a_chain_without_room_ends_the_server_and_a_new_one_goes_on(
    cramped: ServerProcess, disk: SmallDisk, tmp_path: Path
) -> None:
    """The paper cluster is a part of the process: without its ledger nobody knows what has landed."""
    async with Traffic() as traffic:
        await run_into_the_full_disk(cramped, disk, traffic)
        assert "the paper ledger failed" in cramped.log()
        before = dict(traffic.accepted)
        assert before
        disk.make_room()
        await cramped.start()
        await traffic.finish(within_s=30)
        orders = await details(cramped.url, traffic.accepted.values())
    assert await cramped.terminate() == 0
    assert before.items() <= traffic.accepted.items()
    check_streams(traffic, orders)
    # SQLite would resolve the way through /proc to a folder of our own namespace.
    shutil.copytree(disk.outside, tmp_path / "copy")
    await check_fills(tmp_path / "copy", orders)


async def test_a_server_that_gives_up_does_not_say_that_all_is_well(cramped: ServerProcess, disk: SmallDisk) -> None:
    async with Traffic() as traffic:
        assert await run_into_the_full_disk(cramped, disk, traffic) != 0
