"""Whatever is sent, the answer is never a fault of the server, and what is accepted is what was asked for."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bestex.api.reading import parse_object, read_key, read_order
from bestex.api.schemas import RULES
from bestex.errors import AmountOutOfRange, BestexError
from bestex.orders.amount import to_raw, to_units
from bestex.types import U64_MAX
from tests.api.conftest import BODY, World, world_in

EXECUTE = "/api/orders/execute"

text = st.text(max_size=20) | st.text(alphabet=st.characters(categories=["Cs", "Cc", "Zs"]), max_size=3)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))
names = st.sampled_from(sorted(RULES)) | text
bodies = st.dictionaries(names, values, max_size=6).map(lambda changes: BODY | changes)

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("properties")


@pytest.fixture
async def world(directory: Path) -> AsyncIterator[World]:
    async with world_in(directory) as made:
        yield made


async def post(world: World, content: bytes) -> None:
    before = await world.stored()
    answer = await world.client.post(EXECUTE, content=content, headers={"content-type": "application/json"})
    assert answer.status_code < 500, answer.text
    decoded = answer.json()
    assert await world.stored() == before + (answer.status_code == 201) or before >= 500
    if answer.status_code != 201:
        assert decoded["code"]
        assert decoded["detail"]
        assert answer.headers["content-type"] == "application/problem+json"


async def ask(world: World, method: str, path: str, query: bytes) -> int:
    """The status of an answer to what no HTTP client would send."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode("utf-8", "replace"), "query_string": query, "root_path": "",
        "headers": [(b"host", b"bestex")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await world.app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


@relaxed
@given(body=bodies)
@example(body=BODY)
async def test_orders_with_anything_in_them(world: World, body: dict[str, Any]) -> None:
    await post(world, json.dumps(body).encode())


@relaxed
@given(value=values)
async def test_any_json(world: World, value: Any) -> None:
    await post(world, json.dumps(value).encode())


@relaxed
@given(content=st.binary(max_size=200))
async def test_any_bytes(world: World, content: bytes) -> None:
    await post(world, content)


@relaxed
@given(cut=st.integers(0, 200), junk=st.binary(max_size=8), at=st.integers(0, 100))
async def test_broken_orders(world: World, cut: int, junk: bytes, at: int) -> None:
    whole = json.dumps(BODY).encode()
    await post(world, whole[:at] + junk + whole[at:cut])


@relaxed
@given(path=st.text(max_size=40), query=st.binary(max_size=40))
async def test_any_path_and_query(world: World, path: str, query: bytes) -> None:
    for prefix in ("", "/", "/api/orders/", "/api/orders/user/", "/docs/", "/api/quote?"):
        for method in ("GET", "DELETE", "PATCH"):
            assert await ask(world, method, prefix + path, query) < 500


@relaxed
@given(
    query=st.dictionaries(
        st.sampled_from(
            [
                "userId",
                "status",
                "cursor",
                "limit",
                "tokenIn",
                "tokenOut",
                "amountIn",
                "amountOut",
                "swapMode",
                "routing",
                "slippageBps",
            ]
        ),
        st.text(max_size=20) | st.sampled_from(["USDC", "SOL", "1", "0.5", "pending", "ExactOut", "split"]),
    )
)
async def test_any_parameters(world: World, query: dict[str, str]) -> None:
    clean = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    for path in ("/api/orders", "/api/quote"):
        answer = await world.client.get(path, params=clean)
        assert answer.status_code < 500, answer.text


@given(raw=st.integers(1, U64_MAX), written=st.sampled_from(["plain", "text", "exponent", "zeros"]))
def test_amounts_survive_the_way_in_and_out(raw: int, written: str) -> None:
    units = to_units(raw, 6)
    token = {
        "plain": units,
        "text": f'"{units}"',
        "exponent": f"{raw}e-6",
        "zeros": f"{units}{'' if '.' in units else '.'}000",
    }[written]
    body = json.dumps(BODY | {"amountIn": 0}).replace(": 0,", f": {token},").encode()
    request = read_order(body, None, 2)

    assert request.amount_in is not None
    assert to_raw(request.amount_in, 6) == raw
    assert Decimal(request.amount_in) * 10**6 == raw


@given(value=st.floats() | st.integers() | text)
def test_an_amount_is_taken_exactly_or_not_at_all(value: Any) -> None:
    body = json.dumps(BODY | {"amountIn": value}).encode()
    try:
        request = read_order(body, None, 2)
        raw = to_raw(request.amount_in or "", 6)
    except (BestexError, AmountOutOfRange):
        return
    assert Decimal(str(value)) * 10**6 == raw
    assert 0 < raw <= U64_MAX


@given(key=st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=128))
def test_a_key_in_quotes_is_the_key(key: str) -> None:
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert read_key([(b"content-type", b"application/json"), (b"idempotency-key", quoted.encode())]) == key


@given(value=st.binary(max_size=200))
def test_any_key_is_taken_or_refused(value: bytes) -> None:
    try:
        key = read_key([(b"idempotency-key", value)])
    except BestexError:
        return
    assert key
    assert key.isascii()
    assert key.isprintable()


@given(value=st.dictionaries(text, values, max_size=5))
def test_objects_are_read_like_anybody_reads_them(value: dict[str, Any]) -> None:
    try:
        parsed = parse_object(json.dumps(value).encode())
    except BestexError:
        return
    assert list(parsed) == list(json.loads(json.dumps(value)))
