"""Where the next page of orders begins, as a text that is given to whoever reads them page by page."""

from base64 import urlsafe_b64decode, urlsafe_b64encode


def encode(place: bytes) -> str:
    """A cursor for the place."""
    return urlsafe_b64encode(place).decode().rstrip("=")


def decode(cursor: str) -> bytes:
    """The inverse of `encode`. Raises ValueError for a text that is not ours."""
    try:
        place = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError as error:
        raise refused(cursor) from error
    if encode(place) != cursor:
        raise refused(cursor)
    return place


def refused(cursor: str) -> ValueError:
    """The error for a text that is not ours."""
    return ValueError(f"{cursor!r} is not a cursor of this server")
