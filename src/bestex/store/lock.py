"""One process owns the database: an advisory lock on a file beside it."""

import fcntl
import os
import socket
from pathlib import Path

from bestex.errors import StoreUnavailable


class ProcessLock:
    """Held until released, or until the process ends in whatever way."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + ".lock")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises StoreUnavailable, naming who holds it, when another process has the database open."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreUnavailable(f"cannot open {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise StoreUnavailable(
                f"{self._database} is in use by {holder}; one process at a time can have it open",
                path=str(self._database),
                holder=holder,
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise StoreUnavailable(f"cannot lock {self._path}: {error.strerror}") from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others in. The file stays: to remove it would let two of them in at once."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
