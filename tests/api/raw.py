"""HTTP/1.1 and RFC 6455 by hand, to say what no library would."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import msgspec


class RawConnection:
    """HTTP/1.1 and RFC 6455 by hand over one TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> "RawConnection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def __aenter__(self) -> "RawConnection":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Sequence[str] = ("Content-Type: application/json",)
    ) -> tuple[int, dict[str, str], bytes]:
        head = [f"{method} {path} HTTP/1.1", "Host: bestex", f"Content-Length: {len(body)}", *headers, "", ""]
        await self.send("\r\n".join(head).encode() + body)
        return await self.response()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        return status, headers, await self._within(self.reader.readexactly(int(headers.get("content-length", "0"))))

    async def upgrade(self, path: str) -> dict[str, str]:
        """Turn this connection into a WebSocket."""
        head = [
            f"GET {path} HTTP/1.1", "Host: bestex", "Connection: keep-alive, Upgrade", "Upgrade: websocket",
            "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
        ]  # fmt: skip
        await self.send("\r\n".join(head).encode())
        status, headers = await self.head()
        assert status == 101, (status, headers)
        assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        return headers

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload. Servers do not mask."""
        first, second = await self._within(self.reader.readexactly(2))
        assert first & 0x80, "not fragmented"
        length = second
        if length == 126:
            length = int.from_bytes(await self._within(self.reader.readexactly(2)), "big")
        elif length == 127:
            length = int.from_bytes(await self._within(self.reader.readexactly(8)), "big")
        return first & 0x0F, await self._within(self.reader.readexactly(length))

    async def event(self) -> dict[str, Any]:
        """The next message, decoded."""
        opcode, payload = await self.frame()
        assert opcode == 1, (opcode, payload)
        decoded: dict[str, Any] = msgspec.json.decode(payload)
        return decoded

    async def closed(self) -> tuple[int, str]:
        """The close code and reason that come next."""
        opcode, payload = await self.frame()
        assert opcode == 8, (opcode, payload)
        return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    async def say(self, opcode: int, payload: bytes = b"") -> None:
        """Send a frame, masked as clients must."""
        mask = b"\x01\x02\x03\x04"
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
        await self.send(bytes([0x80 | opcode]) + length + mask + masked)

    async def head(self) -> tuple[int, dict[str, str]]:
        text = (await self._within(self.reader.readuntil(b"\r\n\r\n"))).decode("latin-1")
        first, *lines = text.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split()[1]), headers

    async def _within(self, reading: Awaitable[bytes]) -> bytes:
        async with asyncio.timeout(10):
            return await reading
