"""A small file system of its own, without any privilege: a tmpfs in a mount namespace that a sleeping process holds."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

_HOLD = 'mount -t tmpfs -o size="$1" tmpfs "$0" && echo mounted && exec sleep 300'
_BLOCK_BYTES = 4096


class SmallDisk:
    """A folder with only so much room. Whoever is to see it is started by `command`, and sees it at `folder`."""

    def __init__(self, folder: Path, holder: int) -> None:
        self.folder = folder
        self.outside = Path(f"/proc/{holder}/root{folder}")
        """The same folder, as processes outside the namespace see it."""
        self.command: Sequence[str] = (
            "nsenter",
            "--target",
            str(holder),
            "--user",
            "--mount",
            "--preserve-credentials",
        )

    def fill(self) -> None:
        """Take all room that there is."""
        with (self.outside / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(_BLOCK_BYTES))

    def make_room(self) -> None:
        (self.outside / "filler").unlink()


@asynccontextmanager
async def small_disk(folder: Path, size: str) -> AsyncIterator[SmallDisk]:
    """Skips the test where the system does not let us have one."""
    try:
        holder = await asyncio.create_subprocess_exec(
            "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _HOLD, str(folder), size,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("no `unshare` here to make a small file system with")
    assert holder.stdout is not None
    assert holder.stderr is not None
    async with asyncio.timeout(10):
        if await holder.stdout.readline() != b"mounted\n":
            why = (await holder.stderr.read()).decode().strip()
            pytest.skip(f"a small file system cannot be made without privileges here: {why}")
    try:
        yield SmallDisk(folder, holder.pid)
    finally:
        holder.kill()
        await holder.communicate()
