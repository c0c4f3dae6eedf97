"""What is acknowledged survives, whatever becomes of the process."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bestex.errors import ConfigError, StoreUnavailable
from bestex.orders.status import Status
from bestex.store.database import check_version
from bestex.types import OrderId
from tests.contract.store_contract import claim, claim_one, place, submit
from tests.support.orders import keys, pending
from tests.support.sqlite import make_store, opened, writing_connection

_ACCEPT_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from tests.support.orders import keys, pending
from tests.support.sqlite import make_store

async def client(store, first):
    for number in range(first, 10**9, 8):
        order, event = pending(number)
        await store.accept(order, event, keys(client_order_id=str(number)))
        sys.stdout.write(order.id + "\\n")
        sys.stdout.flush()

async def main():
    store = make_store(Path(sys.argv[1]))
    await store.open()
    await asyncio.gather(*(client(store, first) for first in range(8)))

asyncio.run(main())
"""


async def test_the_settings_are_in_force(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        connection = writing_connection(store)

        def pragma(name: str) -> object:
            ((value,),) = connection.execute(f"PRAGMA {name}").fetchall()
            return value

        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 2
        assert pragma("fullfsync") == 1
        assert pragma("foreign_keys") == 1
        assert pragma("page_size") == 8192


async def test_every_order_acknowledged_before_a_kill_is_there(tmp_path: Path) -> None:
    def run_and_kill() -> list[str]:
        with subprocess.Popen(
            [sys.executable, "-c", _ACCEPT_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(500)]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.readlines()
        assert process.returncode == -signal.SIGKILL
        return [line.strip() for line in lines if line.endswith("\n")]

    acknowledged = await asyncio.to_thread(run_and_kill)
    assert len(acknowledged) >= 500
    async with opened(tmp_path) as store:
        for order_id in acknowledged:
            assert (await store.order(OrderId(order_id))).status is Status.PENDING
        stored = len(await store.active(10**9))
        assert dict((await store.stats(0, 1)).by_status)[Status.PENDING] == stored
        again = await store.accept(*pending(10**6), keys(client_order_id="0"))
        assert not again.created


async def test_an_abandoned_store_is_as_after_a_kill(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    await store.open()
    await place(store, 1)
    life = await claim_one(store)
    made = await submit(store, life)
    unanswered = store.record(life.change(life.confirmed()))
    store.abandon()
    assert "orders.db-wal" in os.listdir(tmp_path)
    async with opened(tmp_path) as successor:
        (again,) = (await claim(successor)).claims
        assert again.order.status is Status.SUBMITTED
        assert again.attempt == made
    with pytest.raises(StoreUnavailable, match="unknown"):
        await unanswered


async def test_after_a_close_the_database_is_one_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await place(store, 1)
    assert sorted(os.listdir(tmp_path)) == ["orders.db", "orders.db.lock"]


def test_an_old_sqlite_is_refused() -> None:
    check_version("3.51.0")
    check_version("4.0.0")
    with pytest.raises(ConfigError, match=r"3\.50\.4 is too old"):
        check_version("3.50.4")
