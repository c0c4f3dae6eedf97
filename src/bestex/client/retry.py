"""How often to try again, how long to wait in between, and what is unknown after giving up."""

from http import HTTPStatus

import msgspec

from bestex.client.errors import ApiError, ClientError, ConnectionFailed
from bestex.client.machine import spread


class Retry(msgspec.Struct, frozen=True):
    """Exponential back-off with jitter. Times in seconds."""

    tries: int = 8
    """Tries in a row without success, the first one included."""
    first_s: float = 0.1
    """Wait after the first failure; doubles with each."""
    max_s: float = 5.0

    def wait_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row: between half of the back-off and all of it."""
        backoff_s = min(self.max_s, self.first_s * 2.0 ** (failures - 1))
        return spread(backoff_s)


class Repeated:
    """The tries of one request that may be repeated."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._failures = 0
        self._in_doubt = False

    def failed(self, error: ClientError) -> float:
        """How long to wait before the next try, seconds. Raises the error where another try is not worth it.

        When a connection was lost while an earlier try was under way, nobody knows what became of that one: the error
        says so.
        """
        self._failures += 1
        unavailable = isinstance(error, ApiError) and error.status == HTTPStatus.SERVICE_UNAVAILABLE
        if self._failures < self._retry.tries and (unavailable or isinstance(error, ConnectionFailed)):
            self._in_doubt |= isinstance(error, ConnectionFailed) and error.in_doubt
            return self._retry.wait_s(self._failures)
        if self._in_doubt and isinstance(error, ApiError) and unavailable:
            error.money_moved = "possible"
        elif self._in_doubt and isinstance(error, ConnectionFailed) and not error.in_doubt:
            raise ConnectionFailed(f"{error}; whether an earlier try took effect is unknown", in_doubt=True) from error
        raise error
