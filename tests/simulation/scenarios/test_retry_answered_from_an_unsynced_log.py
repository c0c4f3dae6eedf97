"""Found by the simulated disk: an order was acknowledged on the strength of a commit that a power cut could still take.

The process is killed between a write to the log and its sync. The next one reads the commit from the log, a client
repeats its request, and is told that the order is there. Nothing has been synced yet when the power goes.

Since then a store settles its log before it answers anything: `bestex.store.database.settle`.
"""

import random
from pathlib import Path

import pytest

from bestex.errors import OrderNotFound, StoreUnavailable
from bestex.sim.disk import PowerLost
from bestex.store import session
from tests.support.disk import accept, disk_in, open_store


def stop(_moment: str, _name: str) -> None:
    raise PowerLost("here")


async def live_through(folder: Path, seed: int) -> None:
    """Raises OrderNotFound where the acknowledged order is lost."""
    with disk_in(folder) as disk:
        store = await open_store(disk, folder)
        await accept(store, 1)
        disk.on_sync = stop
        with pytest.raises(StoreUnavailable):
            await accept(store, 2)
        store.abandon()
        disk.on_sync = None
        disk.revive()
        store = await open_store(disk, folder)
        acknowledged = await accept(store, 2)
        store.abandon()
        disk.power_cut(random.Random(seed))
        store = await open_store(disk, folder)
        try:
            assert (await store.order(acknowledged)).id == acknowledged
        finally:
            store.abandon()


async def many_lives(folder: Path) -> None:
    for seed in range(10):
        await live_through(folder / str(seed), seed)


async def test_what_is_acknowledged_after_a_kill_survives_a_power_cut(tmp_path: Path) -> None:
    await many_lives(tmp_path)


async def test_it_would_not_if_the_log_were_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "settle", lambda _connection: None)
    with pytest.raises(OrderNotFound):
        await many_lives(tmp_path)
