"""One process at a time has the database open."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bestex.errors import StoreUnavailable
from bestex.store.lock import ProcessLock
from tests.contract.store_contract import place
from tests.support.sqlite import make_store, opened

_HOLD = """
import sys
from pathlib import Path
from bestex.store.lock import ProcessLock
lock = ProcessLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.readline()
"""


async def test_a_second_store_is_told_who_has_the_database(tmp_path: Path) -> None:
    async with opened(tmp_path):
        second = make_store(tmp_path)
        with pytest.raises(StoreUnavailable) as caught:
            await second.open()
    assert str(tmp_path / "orders.db") in str(caught.value)
    assert f"process {os.getpid()}" in str(caught.value)


async def test_after_the_first_has_closed_the_second_may(tmp_path: Path) -> None:
    async with opened(tmp_path) as first:
        await place(first, 1)
    async with opened(tmp_path) as second:
        assert len(await second.active(9)) == 1


async def test_a_store_that_could_not_open_can_be_opened_later(tmp_path: Path) -> None:
    second = make_store(tmp_path)
    async with opened(tmp_path):
        with pytest.raises(StoreUnavailable):
            await second.open()
    await second.open()
    await place(second, 1)
    await second.close()


def test_another_process_holds_it_until_it_dies(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / "orders.db")
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path / "orders.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreUnavailable, match=f"process {holder.pid} on "):
            lock.acquire()
        holder.kill()
        holder.wait()
    lock.acquire()
    lock.release()
    lock.release()


def test_a_lock_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "orders.db.lock").mkdir()
    with pytest.raises(StoreUnavailable, match="cannot open"):
        ProcessLock(tmp_path / "orders.db").acquire()


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = make_store(tmp_path / "file")
    with pytest.raises(StoreUnavailable, match="cannot make"):
        await store.open()


async def test_a_folder_is_made(tmp_path: Path) -> None:
    async with opened(tmp_path / "deep" / "down") as store:
        await place(store, 1)
