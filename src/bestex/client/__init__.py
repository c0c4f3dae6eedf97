"""What a program imports to trade through a Bestex server: `Client`, and `AsyncClient` for asyncio."""

from bestex.client.async_client import AsyncClient
from bestex.client.client import Client
from bestex.client.errors import ApiError, ClientError, ConnectionFailed
from bestex.client.retry import Retry

__all__ = ["ApiError", "AsyncClient", "Client", "ClientError", "ConnectionFailed", "Retry"]
