"""A store on a disk whose power can be cut."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from bestex.sim.disk import Disk
from bestex.store.commit import InlineExecutor
from bestex.store.sqlite import SqliteStore
from bestex.types import OrderId
from tests.support.clock import VirtualClock
from tests.support.orders import keys, pending

_names = count()
_executor = InlineExecutor()


@contextmanager
def disk_in(folder: Path) -> Iterator[Disk]:
    folder.mkdir(exist_ok=True)
    disk = Disk(folder, f"test-disk-{next(_names)}")
    try:
        yield disk
    finally:
        disk.close()


async def open_store(disk: Disk, folder: Path) -> SqliteStore:
    store = SqliteStore(
        folder / "orders.db",
        clock=VirtualClock(),
        vfs=disk.vfs,
        write_executor=_executor,
        read_executor=_executor,
    )
    await store.open()
    return store


async def accept(store: SqliteStore, number: int) -> OrderId:
    order, event = pending(number, user_id="u" * (number * 37 % 3000 + 1))
    return (await store.accept(order, event, keys(client_order_id=str(number)))).order.id
