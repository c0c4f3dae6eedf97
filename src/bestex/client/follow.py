"""One order's stream of events across connections: what comes next, and what a broken connection means."""

from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import httpx
import msgspec
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bestex.client.errors import ApiError, ConnectionFailed
from bestex.client.machine import now_s
from bestex.client.retry import Retry
from bestex.orders.events import Canceled, Event, Expired, Failed, Finalized, decode_event

_END: Final = 1000
_REFUSALS: Final = range(4000, 5000)
"""Close codes 4xxx are HTTP statuses plus 4000: to connect again would not help."""
_LASTING_S: Final = 10.0
"""A connection that held this long was a success even if nothing happened on it."""


class Follow:
    """Sequence numbers and failures of one `watch`; knows nothing of sockets. Used by both clients."""

    def __init__(self, server_url: str, order_id: str, from_seq: int, retry: Retry) -> None:
        if from_seq < 1:
            raise ValueError(f"from_seq counts from 1, not {from_seq}")
        self._path = f"ws{server_url.removeprefix('http')}/api/orders/{quote(order_id, safe='')}/ws"
        self._order_id = order_id
        self._next_seq = from_seq
        self._retry = retry
        self._failures = 0
        self._opened_s: float | None = None
        self.ended = False
        """No event follows."""

    @property
    def url(self) -> str:
        """Where the next event is to be had."""
        return f"{self._path}?fromSeq={self._next_seq}"

    def opened(self) -> None:
        """A connection stands."""
        self._opened_s = now_s()

    def take(self, message: bytes) -> Event | None:
        """The event of a message; None when it was seen before.

        Raises ConnectionError when events before it are missing, ApiError when it cannot be understood.
        """
        try:
            event = decode_event(message)
        except msgspec.DecodeError as error:
            raise ApiError(
                f"the server sent an event that this version of bestex does not know: {error}",
                status=200,
                code="UNEXPECTED_ANSWER",
                money_moved="possible",
            ) from error
        if event.seq < self._next_seq:
            return None
        if event.seq > self._next_seq:
            raise ConnectionError(f"event {self._next_seq} is missing: the stream went on with {event.seq}")
        self._next_seq += 1
        self._failures = 0
        self.ended = isinstance(event, Finalized | Failed | Canceled | Expired)
        return event

    def broken(self, error: Exception) -> float:
        """How long to wait before the next connection, seconds; sets `ended` where the server says so.

        Raises ApiError when the server refuses the stream, ConnectionFailed after too many failures in a row.
        """
        if isinstance(error, ConnectionClosed) and error.rcvd is not None:
            if error.rcvd.code == _END:
                self.ended = True
                return 0.0
            if error.rcvd.code in _REFUSALS:
                raise self._refused(error.rcvd.code - 4000, error.rcvd.reason) from error
        if isinstance(error, InvalidStatus) and httpx.codes.is_client_error(error.response.status_code):
            raise self._refused(error.response.status_code, "") from error
        if self._opened_s is not None and now_s() - self._opened_s >= _LASTING_S:
            self._failures = 0
        self._opened_s = None
        self._failures += 1
        if self._failures >= self._retry.tries:
            raise ConnectionFailed(
                f"lost the events of order {self._order_id} after {self._failures} tries in a row ({error}); "
                f"the order goes on without us: watch it again from event {self._next_seq}"
            ) from error
        return self._retry.wait_s(self._failures)

    def _refused(self, status: int, reason: str) -> ApiError:
        if status == HTTPStatus.NOT_FOUND:
            detail, code = f"no order has the id {self._order_id}", "ORDER_NOT_FOUND"
        else:
            detail, code = f"the server refused the stream of order {self._order_id}", f"STREAM_REFUSED_{status}"
        return ApiError(reason or detail, status=status, code=code)
