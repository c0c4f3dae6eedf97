"""What can go wrong between a program and the engine.

ClientError
|- ApiError            the server answered, and the answer is no
`- ConnectionFailed    no answer came, or the connection was lost for good
"""


class ClientError(Exception):
    """Base of all errors that the clients raise on purpose."""


class ApiError(ClientError):
    """The server refused.

    `status` is the HTTP status, or what it would have been on a WebSocket; `code` is stable (`NO_ROUTE`), `detail` is
    for people; `retryable` says whether the same request may succeed later; `money_moved` is `no`, `possible` or `yes`.
    """

    def __init__(
        self, detail: str, *, status: int, code: str, retryable: bool = False, money_moved: str = "no"
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.retryable = retryable
        self.money_moved = money_moved


class ConnectionFailed(ClientError):
    """No answer came. `in_doubt`: the request may have reached the server and may have had an effect."""

    def __init__(self, message: str, *, in_doubt: bool = False) -> None:
        super().__init__(message)
        self.in_doubt = in_doubt
