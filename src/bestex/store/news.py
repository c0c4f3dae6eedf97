"""Who is told when a batch has been written: listeners to commits, the measures, and the log."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from bestex.errors import Conflict
from bestex.ports import Committed
from bestex.store.commit import Operation

_log = logging.getLogger(__name__)


class News:
    """Of one store."""

    def __init__(self, on_batch: Callable[[int, float], None] | None) -> None:
        """`on_batch` is told the number of operations and the seconds of every batch."""
        self._on_batch = on_batch
        self.listeners: list[Callable[[Sequence[Committed]], None]] = []
        self.refused = 0
        """Writes that ended in an error, whether anyone waited for them or not."""

    def written(self, batch: list[Operation[Any]], events: list[Committed], seconds: float) -> None:
        """A batch has been written, and whoever asked has the answer."""
        self._report([each.answer for each in batch if isinstance(each.answer, Exception)])
        for listener in self.listeners if events else ():
            try:
                listener(events)
            except Exception:  # noqa: BLE001 - one listener must not keep the news from the others
                _log.exception("a listener to commits failed")
        if self._on_batch is not None:
            self._on_batch(len(batch), seconds)

    def _report(self, errors: Sequence[Exception]) -> None:
        """Nobody may wait for a write: its error is told here in any case."""
        self.refused += len(errors)
        others = []
        for error in errors:
            if isinstance(error, Conflict):
                _log.info("a write was refused: %s", error)
            else:
                others.append(error)
        if others:
            _log.error("%d writes failed; the first: %s", len(others), others[0], exc_info=others[0])
