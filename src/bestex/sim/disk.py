"""A disk whose power can be cut, under SQLite: its own files, and a memory of how to undo what is not synced yet.

What a power cut does is what POSIX allows, as far as databases depend on it:

- A file's writes and truncations since its last sync are kept or lost one by one, in no order. A write may be torn: of
  the 512-byte sectors that it touches only the first ones are changed. A sector is changed as a whole, and bytes beside
  a write never are (SQLite's "powersafe overwrite"). Where a lost write would have made the file longer, there may be
  nothing or zeros.
- A name in the folder may stand for anything that it stood for since the folder was last synced: a new file is gone,
  a deleted one is back. SQLite syncs the folder at the first sync of a log or journal that it opened, and with
  `synchronous = EXTRA` when it deletes one. To sync a file says nothing about its name.
- The shared memory (-shm) is gone.

Not modelled: what was synced is never lost or altered, and a sync that failed may be tried again with success. A killed
process loses nothing: the system has its writes. Reads, locks and shared memory are SQLite's own.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import apsw

Hook: TypeAlias = Callable[[str, str], None]
"""Is told "before" or "after", and the name of the file. It may raise PowerLost."""

_SECTOR = 512
_JOURNALS = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL


class PowerLost(apsw.IOError):
    """The machine stands still: no call to its disk succeeds."""


class Disk:
    """A folder of files whose writes last when they are synced."""

    def __init__(self, folder: Path, name: str) -> None:
        """`name` must be unique in this process. What is in the folder already counts as synced."""
        self.vfs = name
        """What SQLite knows the disk by."""
        self.full = False
        """Whether files can no longer grow; but a checkpoint may still make the database longer.

        SQLite would pass over its error, but apsw raises it out of the commit before, which is done.
        """
        self.sync_fails = False
        self.on_write: Hook | None = None
        """Around each write, truncation and deletion."""
        self.on_sync: Hook | None = None
        self.writes = 0
        """Writes, truncations and deletions that were done."""
        self.syncs = 0
        self._folder = folder
        self._names: dict[str, list[_File | None]] = {}
        """By path: what it has stood for since the folder was last synced. The last one is what it stands for now."""
        self._deleted = 0
        self.life = 0
        """Grows with each revival."""
        self.open_files = 0
        self._power_lost = False
        self._system = _FileSystem(self)

    @property
    def unsynced_bytes(self) -> int:
        """Bytes written that a power cut may take."""
        now = (states[-1] for states in self._names.values())
        return sum(change.length or 0 for file in now if file is not None for change in file.unsynced)

    def power_cut(self, draw: random.Random) -> None:
        """Lose of what is not synced as much as `draw` says. Nobody may have a file open."""
        self._refuse_open_files()
        survival = draw.random()
        for path in sorted(self._names):
            states = self._names.pop(path)
            kept = draw.choice(states) if len(states) > 1 else states[0]
            for file in states:
                if file is not None and file is not kept:
                    os.unlink(file.path)
            if kept is not None:
                kept.lose(draw, survival)
                kept.move(path)
                self._names[path] = [kept]
        for shared_memory in self._folder.glob("*-shm"):
            shared_memory.unlink()

    def revive(self) -> None:
        """The machine runs again. Files that were opened before stay without power."""
        self._power_lost = False
        self.life += 1

    def close(self) -> None:
        """SQLite forgets the disk; the files stay. Nobody may have one open."""
        self._refuse_open_files()
        self.sync_folder()
        self.on_write = self.on_sync = None
        self._system.unregister()

    def _refuse_open_files(self) -> None:
        if self.open_files:
            raise RuntimeError(f"{self.open_files} files of the disk {self.vfs} are still open")

    def check_power(self, life: int | None = None) -> None:
        """Raises PowerLost, also to whoever is of an earlier life."""
        if self._power_lost or (life is not None and life != self.life):
            raise PowerLost("the machine has no power")

    def tell(self, hook: Hook | None, moment: str, name: str) -> None:
        """Call a hook, which may cut the power."""
        if hook is not None:
            try:
                hook(moment, name)
            except PowerLost:
                self._power_lost = True
                raise

    def exists(self, path: str) -> bool:
        """Whether there is a file that was opened before."""
        states = self._names.get(path)
        return states is not None and states[-1] is not None

    def opened(self, path: str, *, existed: bool) -> "_File":
        """What the path stands for, now that it is open."""
        states = self._names.setdefault(path, [] if existed else [None])
        if not states or states[-1] is None:
            states.append(_File(path))
        self.open_files += 1
        assert states[-1] is not None
        return states[-1]

    def delete(self, path: str) -> None:
        """The file is kept elsewhere, as it may come back."""
        states = self._names.setdefault(path, []) or [_File(path)]
        assert states[-1] is not None
        self._deleted += 1
        states[-1].move(f"{path}~{self._deleted}")
        self._names[path] = [*states, None]

    def sync_folder(self) -> None:
        """From now on all names stand for what they stand for now."""
        for path, (*past, now) in list(self._names.items()):
            for file in filter(None, past):
                os.unlink(file.path)
            if now is None:
                del self._names[path]
            else:
                self._names[path] = [now]


class _Change(NamedTuple):
    """A write that is not synced; with no length: a truncation to `offset`."""

    offset: int
    length: int | None
    old: bytes
    """What was at `offset`, as far as there was anything."""
    old_size: int


class _File:
    """What a name stands for: bytes, and how to undo those that are not synced."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = os.path.getsize(path)
        self.unsynced: list[_Change] = []

    def move(self, path: str) -> None:
        """Give it this name."""
        os.rename(self.path, path)
        self.path = path

    def lose(self, draw: random.Random, survival: float) -> None:
        """Undo all changes since the last sync, then make those again that survive."""
        with open(self.path, "r+b", buffering=0) as file:
            descriptor = file.fileno()
            redo = []
            for change in reversed(self.unsynced):
                redo.append((change, os.pread(descriptor, change.length or 0, change.offset)))
                os.pwrite(descriptor, change.old, change.offset)
                os.ftruncate(descriptor, change.old_size)
            for change, data in reversed(redo):
                if draw.random() >= survival:
                    _lose(descriptor, change, data, draw)
                elif change.length is None:
                    os.ftruncate(descriptor, change.offset)
                else:
                    os.pwrite(descriptor, data, change.offset)
            self.size = os.fstat(descriptor).st_size
        self.unsynced.clear()


def _lose(descriptor: int, change: _Change, data: bytes, draw: random.Random) -> None:
    """All of a change, or all of a write but its first sectors."""
    offset, end = change.offset, change.offset + len(data)
    bounds = range((offset // _SECTOR + 1) * _SECTOR, end, _SECTOR)
    if bounds and draw.random() < 0.5:
        os.pwrite(descriptor, data[: draw.choice(bounds) - offset], offset)
    if draw.random() < 0.5 and end > os.fstat(descriptor).st_size:
        os.ftruncate(descriptor, end)


class _FileSystem(apsw.VFS):
    """What SQLite sees."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk.vfs, base="")
        self._disk = disk

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        self._disk.check_power()
        if name is None:
            return apsw.VFSFile("", name, flags)  # a temporary file: nobody finds it after a crash
        return _Handle(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        disk = self._disk
        disk.check_power()
        if not os.path.exists(filename):
            super().xDelete(filename, syncdir)  # raises what SQLite expects
            return
        name = os.path.basename(filename)
        disk.tell(disk.on_write, "before", name)
        disk.delete(filename)
        disk.writes += 1
        if syncdir:
            disk.sync_folder()
        disk.tell(disk.on_write, "after", name)


class _Handle(apsw.VFSFile):
    """A file that is open."""

    def __init__(self, disk: Disk, name: str | apsw.URIFilename, flags: list[int]) -> None:
        path = name if isinstance(name, str) else name.filename()
        existed = os.path.exists(path)
        super().__init__("", name, flags)
        self._disk = disk
        self._name = os.path.basename(path)
        self._file = disk.opened(path, existed=existed)
        self._life = disk.life
        self._closed = False
        self._log = f"{path}-wal"
        self._syncs_folder = bool(flags[0] & _JOURNALS) and bool(flags[0] & apsw.SQLITE_OPEN_CREATE)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self._disk.check_power(self._life)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        size, length = self._begin(), len(data)
        end = offset + length
        # A database that has a log is written by checkpoints only.
        if end > size and self._disk.full and not self._disk.exists(self._log):
            raise apsw.FullError("the disk is full (simulated)")
        old = super().xRead(min(end, size) - offset, offset) if offset < size else b""
        super().xWrite(data, offset)
        self._done(_Change(offset, length, old, size), max(size, end))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        size = self._begin()
        old = super().xRead(size - newsize, newsize) if newsize < size else b""
        super().xTruncate(newsize)
        self._done(_Change(newsize, None, old, size), newsize)

    def _begin(self) -> int:
        """A change; the answer is the present size."""
        disk = self._disk
        disk.check_power(self._life)
        disk.tell(disk.on_write, "before", self._name)
        return self._file.size

    def _done(self, change: _Change, size: int) -> None:
        disk, file = self._disk, self._file
        file.unsynced.append(change)
        file.size = size
        disk.writes += 1
        disk.tell(disk.on_write, "after", self._name)

    def xSync(self, flags: int) -> None:  # noqa: ARG002, N802 - all of them make data last
        disk = self._disk
        disk.check_power(self._life)
        disk.tell(disk.on_sync, "before", self._name)
        if disk.sync_fails:
            raise apsw.IOError("the disk does not sync (simulated)")
        self._file.unsynced.clear()
        if self._syncs_folder:
            disk.sync_folder()
            self._syncs_folder = False
        disk.syncs += 1
        disk.tell(disk.on_sync, "after", self._name)

    def xClose(self) -> None:  # noqa: N802
        if not self._closed:
            self._closed = True
            self._disk.open_files -= 1
        super().xClose()
