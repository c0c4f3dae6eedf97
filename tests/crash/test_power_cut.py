"""The real store under power cuts at random moments: what was acknowledged is on the disk afterwards."""

import asyncio
import random
from pathlib import Path
from typing import NamedTuple

import apsw
import pytest

from bestex.errors import OrderNotFound, StoreUnavailable
from bestex.sim.disk import Disk, PowerLost
from bestex.store.sqlite import SqliteStore
from bestex.types import OrderId
from tests.contract.store_contract import place
from tests.support.clock import VirtualClock
from tests.support.sqlite import opened, writing_connection

SEEDS = range(12)
CLIENTS = 4


class Aftermath(NamedTuple):
    """How many orders were acknowledged before the cut, and how many of them are gone."""

    promised: int
    gone: int


class Cut:
    """Takes the power away at one of the disk's next calls, before it or after it."""

    def __init__(self, disk: Disk, calls: int, acknowledged: list[OrderId]) -> None:
        self._calls_left = calls
        self._acknowledged = acknowledged
        self.promised: list[OrderId] = []
        disk.on_write = disk.on_sync = self._tell

    def _tell(self, moment: str, name: str) -> None:
        self._calls_left -= 1
        if self._calls_left == 0:
            self.promised = list(self._acknowledged)
            raise PowerLost(f"the power goes {moment} a call to {name}")


async def power_cut(folder: Path, seed: int, synchronous: str) -> Aftermath:
    """Write until the power goes, and look at what the disk holds then."""
    draw = random.Random(seed)
    disk = Disk(folder, f"power-cut-{synchronous}-{seed}")
    acknowledged: list[OrderId] = []
    store = SqliteStore(folder / "orders.db", clock=VirtualClock(), vfs=disk.vfs)
    await store.open()
    # Checkpoints, too, shall meet the cut.
    writing_connection(store).execute(f"PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = 100")
    cut = Cut(disk, draw.randrange(100, 2_000), acknowledged)

    async def write(client: int) -> None:
        number = client
        while True:
            order = await place(store, number, user_id="u" * draw.randrange(1, 200))
            acknowledged.append(order.id)
            number += CLIENTS

    async with asyncio.timeout(20):
        ends = await asyncio.gather(*(write(client) for client in range(CLIENTS)), return_exceptions=True)
    assert all(isinstance(end, StoreUnavailable) for end in ends), ends
    store.abandon()
    disk.power_cut(draw)
    disk.close()
    return Aftermath(len(cut.promised), await _gone(folder, cut.promised))


async def _gone(folder: Path, promised: list[OrderId]) -> int:
    gone = 0
    async with opened(folder) as store:
        for order_id in promised:
            try:
                order = await store.order(order_id)
            except OrderNotFound:
                gone += 1
            else:
                assert [event.seq for event in await store.events(order_id)] == [order.seq]
        await place(store, 1_000_000)
    assert apsw.Connection(str(folder / "orders.db")).execute("PRAGMA integrity_check").get == "ok"
    return gone


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_power_cut_takes_nothing_that_was_acknowledged(tmp_path: Path, seed: int) -> None:
    aftermath = await power_cut(tmp_path, seed, "FULL")
    assert aftermath.promised
    assert not aftermath.gone


async def test_without_a_sync_at_each_commit_it_would(tmp_path: Path) -> None:
    """The ablation: SQLite's NORMAL syncs at checkpoints only."""
    gone = 0
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        gone += (await power_cut(folder, seed, "NORMAL")).gone
    assert gone
