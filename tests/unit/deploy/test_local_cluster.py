"""What `make cluster` refuses before it starts anything, and what it never removes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deploy.local import cluster
from deploy.local.cluster import LocalCluster
from deploy.local.ports import HOST, PortTaken
from deploy.local.process import NotStarted

from bestex.listening import listen
from tests.support.postgres import server_folder


@contextmanager
def held(folder: Path) -> Iterator[Path]:
    """A cluster's folder, as it is while the cluster runs; one of its files."""
    (folder / "postgres").mkdir(parents=True)
    kept = folder / "postgres" / "orders"
    kept.write_text("orders")
    with (folder / "lock").open("w") as lock:
        cluster._lock(lock)
        yield kept


async def refused(folder: Path, **options: bool) -> str:
    with pytest.raises(NotStarted) as error:
        async with LocalCluster(folder, **options):  # type: ignore[arg-type]  # each by its name
            raise AssertionError
    return str(error.value)


@pytest.mark.parametrize("fresh", [False, True])
async def test_two_on_one_folder(tmp_path: Path, *, fresh: bool) -> None:
    with held(tmp_path) as kept:
        assert await refused(tmp_path, fresh=fresh) == f"another cluster runs on {tmp_path}"
        assert kept.read_text() == "orders"


async def test_fresh_removes_nothing_when_a_port_is_taken(tmp_path: Path) -> None:
    with held(tmp_path) as kept:
        pass
    made = LocalCluster(tmp_path, fresh=True)
    with listen(HOST, made.ports.redis), pytest.raises(PortTaken, match=r"\(redis\)"):
        await made.__aenter__()
    assert kept.read_text() == "orders"


async def test_fresh_removes_what_a_cluster_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_: LocalCluster) -> None: ...

    monkeypatch.setattr(LocalCluster, "_start", nothing)
    with server_folder() as folder:
        folder.chmod(0o755)  # PostgreSQL runs as nobody where tests run as root
        with held(folder / "data") as kept:
            pass
        (folder / "data" / "stray").write_text("")
        async with LocalCluster(folder / "data"):
            assert kept.exists()
        async with LocalCluster(folder / "data", fresh=True):
            assert sorted(os.listdir(folder / "data")) == ["lock", "logs"]


async def test_fresh_removes_nothing_that_no_cluster_has_made(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    assert "no cluster has made it" in await refused(tmp_path, fresh=True)
    assert (tmp_path / "home").exists()
