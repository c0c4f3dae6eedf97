"""The machine that the engine runs on: its clock, its disk, its log. It outlives the engine's process."""

import asyncio
import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

_START_MS = 1_790_000_000_000


class MachineClock:
    """A Clock on the loop's virtual time; the wall clock may be set back."""

    def __init__(self) -> None:
        self.set_back_ms = 0
        """By how much in all."""

    def now_ms(self) -> int:
        return _START_MS + round(self.monotonic_s() * 1000) - self.set_back_ms

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - this is the clock

    def set_back(self, milliseconds: int) -> None:
        """Set the wall clock back."""
        self.set_back_ms += milliseconds


class LogCapture(logging.Handler):
    """Every log line of a run, ours through structlog and the store's through logging; defects stand out."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.defects: list[str] = []
        """Exceptions that were logged as such: the engine's way to say that this should not have happened."""

    def __enter__(self) -> "LogCapture":
        self._restore = _capture(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def structured(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A structlog processor that ends the chain."""
        error = event.pop("exc_info", None)
        error = sys.exc_info()[1] if error is True else error
        said = " ".join(f"{name}={value}" for name, value in event.items())
        self._keep(method, said, error if isinstance(error, BaseException) else None, failed=method == "exception")
        raise structlog.DropEvent

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._keep(record.levelname.lower(), record.getMessage(), error, failed=False)

    def _keep(self, level: str, said: str, error: BaseException | None, *, failed: bool) -> None:
        line = f"{level}: {said}" + (f" [{type(error).__name__}: {error}]" if error else "")
        self.lines.append(line)
        if failed or level == "critical":
            self.defects.append(line)


def _capture(capture: LogCapture) -> Callable[[], None]:
    """Send all log lines there; returns what puts everything back."""
    before = structlog.get_config()
    root = logging.getLogger("bestex")
    level, propagate = root.level, root.propagate
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.dev.set_exc_info, capture.structured],
        wrapper_class=structlog.BoundLogger,
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    root.addHandler(capture)
    root.setLevel(logging.DEBUG)
    root.propagate = False

    def restore() -> None:
        structlog.configure(**before)
        root.removeHandler(capture)
        root.setLevel(level)
        root.propagate = propagate

    return restore
