"""What happened in a run, for the eye (the last events) and for comparison (a hash over all of them)."""

from collections import Counter, deque
from collections.abc import Callable
from hashlib import sha256

from bestex.sim.faults import Fault

_LAST = 20


class Trace:
    """Notes, in order. The text of a note must be the same for the same seed: no addresses, no real time."""

    def __init__(self, now_s: Callable[[], float], *, keep_all: bool = False) -> None:
        self._now_s = now_s
        self._hash = sha256()
        self._notes: deque[str] = deque(maxlen=None if keep_all else _LAST)
        self.survived: Counter[Fault] = Counter()
        """How often each fault has happened."""
        self.count = 0

    def note(self, kind: str, text: str) -> None:
        """Something happened."""
        line = f"{self._now_s():10.3f}s {kind:12} {text}"
        self._hash.update(line.encode())
        self._notes.append(line)
        self.count += 1

    def fault(self, fault: Fault, text: str = "") -> None:
        """A fault happened."""
        self.survived[fault] += 1
        self.note("fault", f"{fault.value} {text}".rstrip())

    @property
    def hash(self) -> str:
        """Of everything so far."""
        return self._hash.hexdigest()

    @property
    def notes(self) -> list[str]:
        """All notes, or the last ones."""
        return list(self._notes)
