"""Everything that can be wrong with a request: a clear answer, nothing stored, and the server goes on."""

from typing import Any

import msgspec
import pytest

from bestex.api.problems import PROBLEMS
from tests.api.conftest import BODY, World

EXECUTE = "/api/orders/execute"


def body(*, without: str | None = None, **changes: Any) -> bytes:
    """The usual body with some fields replaced; a replacement in bytes is put in as it is."""
    fields = {name: msgspec.json.encode(value) for name, value in BODY.items()}
    for name, value in changes.items():
        fields[name] = value if isinstance(value, bytes) else msgspec.json.encode(value)
    fields = {name: value for name, value in fields.items() if name != without}
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), value) for name, value in fields.items()) + b"}"


def amount(written: bytes | str) -> bytes:
    return body(amountIn=written)


def exact_out(**changes: Any) -> bytes:
    return body(without="amountIn", **{"swapMode": "ExactOut", "amountOut": 1} | changes)


MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "blank": b"  \r\n",
    "not JSON": b"tokenIn=USDC",
    "cut off": body()[:-1],
    "more after the end": body() + b"{}",
    "single quotes": body().replace(b'"', b"'"),
    "trailing comma": body()[:-1] + b",}",
    "comment": body()[:-1] + b"/* no */}",
    "NaN": amount(b"NaN"),
    "Infinity": amount(b"Infinity"),
    "minus Infinity": amount(b"-Infinity"),
    "plus sign": amount(b"+5"),
    "leading zero": amount(b"05"),
    "hexadecimal": amount(b"0x10"),
    "bare point": amount(b".5"),
    "point at the end": amount(b"5."),
    "underscore": amount(b"1_000"),
    "invalid UTF-8": body(userId=b'"\xff\xfe"'),
    "UTF-16": body().decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + body(),
    "deep lists": b"[" * 60_000,
    "deep objects": b'{"a":' * 12_000,
    "deep inside a field": body(userId=b"[" * 30_000 + b"]" * 30_000),
    "control character in a string": body(userId=b'"a\x00b"'),
    "a list": b"[" + body() + b"]",
    "a string": b'"order"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
}

WRONG: dict[str, tuple[bytes, str]] = {
    # the amount
    "negative": (amount(b"-1"), "amountIn"),
    "negative text": (amount("-1"), "amountIn"),
    "zero": (amount(b"0"), "amountIn"),
    "minus zero": (amount(b"-0"), "amountIn"),
    "zero with decimals": (amount(b"0.000"), "amountIn"),
    "zero text": (amount("0"), "amountIn"),
    "zero with exponent": (amount(b"0e5"), "amountIn"),
    "NaN text": (amount("NaN"), "amountIn"),
    "Infinity text": (amount("Infinity"), "amountIn"),
    "1e400": (amount(b"1e400"), "amountIn"),
    "1e400 text": (amount("1e400"), "amountIn"),
    "1e99999": (amount(b"1e99999"), "amountIn"),
    "1e-400": (amount(b"1e-400"), "amountIn"),
    "too many decimals": (amount(b"0.0000001"), "amountIn"),
    "too many decimals, text": (amount("1000.0000001"), "amountIn"),
    "too many decimals, exponent": (amount(b"1e-7"), "amountIn"),
    "above u64": (amount(b"18446744073709.551616"), "amountIn"),
    "far above u64": (amount(b"99999999999999999999"), "amountIn"),
    "hundreds of digits": (amount(b"9" * 700), "amountIn"),
    "ten thousands of digits": (amount(b"9" * 50_000), "amountIn"),
    "ten thousands of digits, text": (amount("9" * 50_000), "amountIn"),
    "ten thousands of decimals": (amount(b"0." + b"1" * 50_000), "amountIn"),
    "sign in text": (amount("+5"), "amountIn"),
    "spaces in text": (amount(" 5 "), "amountIn"),
    "space inside": (amount("1 000"), "amountIn"),
    "underscore in text": (amount("1_000"), "amountIn"),
    "comma": (amount("1,000"), "amountIn"),
    "hexadecimal text": (amount("0x10"), "amountIn"),
    "no digits before the point": (amount(".5"), "amountIn"),
    "no digits after the point": (amount("5."), "amountIn"),
    "newline after": (amount("5\n"), "amountIn"),
    "Arabic digits": (amount("\u0665"), "amountIn"),
    "full-width digits": (amount("\uff15"), "amountIn"),
    "empty text": (amount(""), "amountIn"),
    "words": (amount("a lot"), "amountIn"),
    "true": (amount(b"true"), "amountIn"),
    "null": (amount(b"null"), "amountIn"),
    "list": (amount(b"[]"), "amountIn"),
    "list of one": (amount(b"[1]"), "amountIn"),
    "object": (amount(b"{}"), "amountIn"),
    # which amount is exact
    "unknown swap mode": (body(swapMode="exactOut"), "swapMode"),
    "swap mode of wrong type": (body(swapMode=1), "swapMode"),
    "null swap mode": (body(swapMode=None), "swapMode"),
    "unknown routing": (body(routing="fastest"), "routing"),
    "upper-case routing": (body(routing="AUTO"), "routing"),
    "null routing": (body(routing=None), "routing"),
    "amount out with ExactIn": (body(amountOut=1), "amountOut"),
    "amount out instead of amount in": (body(without="amountIn", amountOut=1), "amountIn"),
    "most in with ExactIn": (body(maxAmountIn=1), "maxAmountIn"),
    "amount in with ExactOut": (body(swapMode="ExactOut"), "amountOut"),
    "both amounts with ExactOut": (body(swapMode="ExactOut", amountOut=1), "amountIn"),
    "no amount with ExactOut": (body(without="amountIn", swapMode="ExactOut"), "amountOut"),
    "null amount with ExactOut": (exact_out(amountOut=None), "amountOut"),
    "zero amount out": (exact_out(amountOut=0), "amountOut"),
    "amount out with too many decimals": (exact_out(amountOut="0.0000000001"), "amountOut"),
    "amount out true": (exact_out(amountOut=True), "amountOut"),
    "zero most in": (exact_out(maxAmountIn=0), "maxAmountIn"),
    "most in with too many decimals": (exact_out(maxAmountIn="0.0000001"), "maxAmountIn"),
    "most in, words": (exact_out(maxAmountIn="all"), "maxAmountIn"),
    "most in, hundreds of digits": (exact_out(maxAmountIn="9" * 700), "maxAmountIn"),
    # tokens
    "unknown token": (body(tokenOut="NOPE"), "tokenOut"),
    "unknown token in": (body(tokenIn="NOPE"), "tokenIn"),
    "token with spaces": (body(tokenIn=" USDC"), "tokenIn"),
    "empty token": (body(tokenIn=""), "tokenIn"),
    "long token": (body(tokenIn="A" * 65), "tokenIn"),
    "token of wrong type": (body(tokenIn=7), "tokenIn"),
    "null token": (body(tokenOut=None), "tokenOut"),
    "lone surrogate": (body(tokenIn=b'"\\ud800"'), "tokenIn"),
    "NUL token": (body(tokenIn=b'"\\u0000"'), "tokenIn"),
    "same token twice": (body(tokenOut="USDC"), "tokenOut"),
    "same token, other case": (body(tokenOut="usdc"), "tokenOut"),
    "same token by mint": (body(tokenOut="EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"), "tokenOut"),
    # the type
    "unknown type": (body(type="limit"), "type"),
    "upper-case type": (body(type="MARKET"), "type"),
    "type of wrong type": (body(type=1), "type"),
    "type with a lone surrogate": (body(type=b'"\\ud800"'), "type"),
    "null type": (body(type=None), "type"),
    # the user
    "empty user": (body(userId=""), "userId"),
    "blank user": (body(userId="   "), "userId"),
    "spaces around the user": (body(userId=" u"), "userId"),
    "tab after the user": (body(userId="u\t"), "userId"),
    "newline in the user": (body(userId="a\nb"), "userId"),
    "NUL in the user": (body(userId=b'"a\\u0000b"'), "userId"),
    "lone surrogate in the user": (body(userId=b'"a\\udfffb"'), "userId"),
    "right-to-left override": (body(userId="a\u202eb"), "userId"),
    "long user": (body(userId="u" * 129), "userId"),
    "user of wrong type": (body(userId=7), "userId"),
    "user with decimals": (body(userId=b"7.5"), "userId"),
    "null user": (body(userId=None), "userId"),
    # options
    "slippage below 0": (body(slippageBps=-1), "slippageBps"),
    "slippage above 10000": (body(slippageBps=10_001), "slippageBps"),
    "slippage far above": (body(slippageBps=b"9" * 400), "slippageBps"),
    "slippage with decimals": (body(slippageBps=0.5), "slippageBps"),
    "slippage as text": (body(slippageBps="50"), "slippageBps"),
    "slippage with exponent": (body(slippageBps=b"1e2"), "slippageBps"),
    "slippage true": (body(slippageBps=True), "slippageBps"),
    "priority below 0": (body(priority=-1), "priority"),
    "priority above 9": (body(priority=10), "priority"),
    "priority null": (body(priority=None), "priority"),
    "priority as text": (body(priority="1"), "priority"),
    "retries below 0": (body(maxRetries=-1), "maxRetries"),
    "retries above the limit": (body(maxRetries=3), "maxRetries"),
    "retries as text": (body(maxRetries="1"), "maxRetries"),
    "empty client order id": (body(clientOrderId=""), "clientOrderId"),
    "long client order id": (body(clientOrderId="c" * 65), "clientOrderId"),
    "client order id with newline": (body(clientOrderId="a\n"), "clientOrderId"),
    "client order id not ASCII": (body(clientOrderId="é"), "clientOrderId"),
    "client order id of wrong type": (body(clientOrderId=7), "clientOrderId"),
    # the shape
    "no type": (body(without="type"), "type"),
    "no tokenIn": (body(without="tokenIn"), "tokenIn"),
    "no tokenOut": (body(without="tokenOut"), "tokenOut"),
    "no amountIn": (body(without="amountIn"), "amountIn"),
    "no userId": (body(without="userId"), "userId"),
    "no field at all": (b"{}", "userId"),
    "one field more": (body(limitPrice=1), "limitPrice"),
    "other case": (body(without="tokenIn", tokenin="USDC"), "tokenin"),
    "snake case": (body(token_in="USDC"), "token_in"),
    "empty name": (body()[:-1] + b',"":1}', "''"),
    "name with a lone surrogate": (body()[:-1] + b',"\\ud800":1}', "'\\ud800'"),
    "a field twice": (body()[:-1] + b',"amountIn":2}', "amountIn"),
    "a field twice, the same": (body()[:-1] + b',"userId":"user123"}', "userId"),
    "a field twice, escaped": (body()[:-1] + b',"\\u0075serId":"x"}', "userId"),
    "ten thousand fields": (b"{" + b",".join(b'"f%d":1' % n for n in range(5_000)) + b"}", "f0"),
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_malformed_bodies_are_bad_requests(world: World, case: str) -> None:
    answer = await world.client.post(EXECUTE, content=MALFORMED[case], headers={"content-type": "application/json"})

    assert answer.status_code == 400, answer.text
    check_problem(answer.json(), "MALFORMED_JSON", answer.headers["content-type"])
    assert await world.stored() == 0
    assert (await world.post()).status_code == 201


@pytest.mark.parametrize("case", WRONG)
async def test_wrong_content_is_unprocessable_and_names_the_field(world: World, case: str) -> None:
    content, field = WRONG[case]
    answer = await world.client.post(EXECUTE, content=content, headers={"content-type": "application/json"})

    assert answer.status_code == 422, answer.text
    problem = answer.json()
    check_problem(problem, problem["code"], answer.headers["content-type"])
    assert problem["code"] in {"INVALID_ORDER", "AMOUNT_OUT_OF_RANGE", "UNKNOWN_TOKEN"}
    assert field in {each["field"] for each in problem["errors"]}
    assert field in problem["detail"]
    assert len(answer.content) < 4_096
    assert await world.stored() == 0
    assert (await world.post()).status_code == 201


async def test_all_fields_that_are_wrong_are_named_at_once(world: World) -> None:
    answer = await world.post(type="limit", userId="", priority=10, extra=1, tokenIn=...)

    assert [(each["field"], each["message"]) for each in answer.json()["errors"]] == [
        ("extra", "is not a field of an order"),
        ("type", "must be one of: market"),
        ("tokenIn", "is missing"),
        ("userId", "must be a string of 1 to 128 printable characters without spaces around them"),
        ("priority", "must be an integer from 0 to 9"),
    ]


async def test_amounts_of_the_other_swap_mode_say_what_to_do(world: World) -> None:
    exact_in = await world.post(amountOut=1, maxAmountIn=2)
    exact_out = await world.post(swapMode="ExactOut")

    assert [(each["field"], each["message"]) for each in exact_in.json()["errors"]] == [
        ("amountOut", "is not taken with swapMode ExactIn: say swapMode ExactOut to receive an exact amount"),
        ("maxAmountIn", "is not taken with swapMode ExactIn: amountIn is spent, no more"),
    ]
    assert [(each["field"], each["message"]) for each in exact_out.json()["errors"]] == [
        ("amountOut", "is missing: swapMode is ExactOut"),
        ("amountIn", "is not taken with swapMode ExactOut: say amountOut; an order may add maxAmountIn"),
    ]


async def test_a_pair_without_pools_has_no_route(world: World) -> None:
    answer = await world.post(tokenOut="JUP")
    assert (answer.status_code, answer.json()["code"]) == (422, "NO_ROUTE")
    assert await world.stored() == 0


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp",
     "application/json; charset=utf-16", "text/json", "*/*", "json", ";"],
)  # fmt: skip
async def test_other_content_types_are_refused(world: World, content_type: str) -> None:
    answer = await world.client.post(EXECUTE, content=body(), headers={"content-type": content_type})

    assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert await world.stored() == 0


async def test_compressed_bodies_are_refused(world: World) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = await world.client.post(EXECUTE, content=body(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("path", [EXECUTE, EXECUTE + "/"])
async def test_a_body_above_the_limit_is_refused(world: World, path: str) -> None:
    at_limit = body(userId="u" * 20)
    at_limit = b" " * (world.front.settings.body_limit_bytes - len(at_limit)) + at_limit
    accepted = await world.client.post(path, content=at_limit, headers={"content-type": "application/json"})
    refused = await world.client.post(path, content=at_limit + b" ", headers={"content-type": "application/json"})

    assert accepted.status_code == 201
    assert (refused.status_code, refused.json()["code"]) == (413, "BODY_TOO_LARGE")
    assert refused.json()["limitBytes"] == world.front.settings.body_limit_bytes


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "PATH_NOT_FOUND"),
        ("GET", "/api", 404, "PATH_NOT_FOUND"),
        ("GET", "/docs/nothing", 404, "PATH_NOT_FOUND"),
        ("GET", "/docs/nothing.json", 404, "PATH_NOT_FOUND"),
        ("GET", "/docs/assets/..%2f..%2f__init__.py", 404, "PATH_NOT_FOUND"),
        ("GET", "/docs/assets/index.html", 404, "PATH_NOT_FOUND"),
        ("GET", "/%00", 404, "PATH_NOT_FOUND"),
        ("GET", "/%ff", 404, "PATH_NOT_FOUND"),
        ("GET", "//etc/passwd", 404, "PATH_NOT_FOUND"),
        ("PUT", EXECUTE, 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/api/quote", 405, "METHOD_NOT_ALLOWED"),
        ("GET", EXECUTE, 426, "UPGRADE_REQUIRED"),
        ("GET", "/api/orders/01234567-89ab-7def-8123-456789abcdef/ws", 426, "UPGRADE_REQUIRED"),
        ("GET", "/api/orders/01234567-89ab-7def-8123-456789abcdef", 404, "ORDER_NOT_FOUND"),
        ("GET", "/api/orders/nonsense", 404, "ORDER_NOT_FOUND"),
        ("GET", "/api/orders/%00", 404, "ORDER_NOT_FOUND"),
        ("GET", "/api/orders/%ff", 404, "ORDER_NOT_FOUND"),
        ("GET", "/api/orders/'; drop table orders; --", 404, "ORDER_NOT_FOUND"),
        ("DELETE", "/api/orders/nonsense", 404, "ORDER_NOT_FOUND"),
        ("GET", "/api/orders?limit=0", 422, "INVALID_PARAMETER"),
        ("GET", "/api/orders?limit=501", 422, "INVALID_PARAMETER"),
        ("GET", "/api/orders?limit=ten", 422, "INVALID_PARAMETER"),
        ("GET", "/api/orders?limit=" + "9" * 5_000, 422, "INVALID_PARAMETER"),
        ("GET", "/api/orders?status=done", 422, "INVALID_PARAMETER"),
        ("GET", "/api/orders?status=", 422, "INVALID_PARAMETER"),
        ("GET", "/api/orders?userId=", 422, "INVALID_PARAMETER"),
        ("GET", "/api/orders?userId=%00", 422, "INVALID_PARAMETER"),
        ("GET", "/api/orders?cursor=nonsense", 422, "INVALID_PARAMETER"),
        ("GET", "/api/orders?cursor=%00", 422, "INVALID_PARAMETER"),
        ("GET", "/api/orders?userid=alice", 422, "INVALID_PARAMETER"),
        ("GET", "/api/orders/user/alice?userId=bob", 422, "INVALID_PARAMETER"),
        ("GET", "/api/orders/active?limit=-1", 422, "INVALID_PARAMETER"),
        ("GET", "/api/quote", 422, "INVALID_PARAMETER"),
        ("GET", "/api/quote?tokenIn=USDC&tokenOut=SOL", 422, "INVALID_PARAMETER"),
        ("GET", "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=1&slippageBps=10001", 422, "INVALID_PARAMETER"),
        ("GET", "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=1&slippageBps=x", 422, "INVALID_PARAMETER"),
        ("GET", "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=1&amount=2", 422, "INVALID_PARAMETER"),
        ("GET", "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=0", 422, "AMOUNT_OUT_OF_RANGE"),
        ("GET", "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=-1", 422, "AMOUNT_OUT_OF_RANGE"),
        ("GET", "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=1e400", 422, "AMOUNT_OUT_OF_RANGE"),
        ("GET", "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=", 422, "AMOUNT_OUT_OF_RANGE"),
        ("GET", "/api/quote?tokenIn=USDC&tokenOut=SOL&amountOut=1", 422, "INVALID_PARAMETER"),
        ("GET", "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=1&amountOut=1", 422, "INVALID_PARAMETER"),
        ("GET", "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=1&swapMode=ExactOut", 422, "INVALID_PARAMETER"),
        ("GET", "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=1&swapMode=exact_in", 422, "INVALID_PARAMETER"),
        ("GET", "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=1&routing=fast", 422, "INVALID_PARAMETER"),
        ("GET", "/api/quote?tokenIn=USDC&tokenOut=SOL&amountOut=0&swapMode=ExactOut", 422, "AMOUNT_OUT_OF_RANGE"),
        ("GET", "/api/quote?tokenIn=NOPE&tokenOut=SOL&amountIn=1", 422, "UNKNOWN_TOKEN"),
        ("GET", "/api/quote?tokenIn=&tokenOut=SOL&amountIn=1", 422, "UNKNOWN_TOKEN"),
        ("GET", "/api/quote?tokenIn=SOL&tokenOut=sol&amountIn=1", 422, "INVALID_ORDER"),
        ("GET", "/api/quote?tokenIn=SOL&tokenOut=JUP&amountIn=1", 422, "NO_ROUTE"),
    ],
)  # fmt: skip
async def test_other_requests(world: World, method: str, path: str, status: int, code: str) -> None:
    answer = await world.client.request(method, path)

    assert answer.status_code == status, answer.text
    check_problem(answer.json(), code, answer.headers["content-type"])
    if status == 405:
        assert "GET" in answer.headers["allow"]
    if status == 426:
        assert answer.headers["upgrade"] == "websocket"
    assert await world.stored() == 0


def check_problem(problem: dict[str, Any], code: str, content_type: str) -> None:
    """A whole RFC 9457 problem, as the table has it."""
    assert content_type == "application/problem+json"
    assert problem["code"] == code
    assert problem["type"] == f"/api/problems#{code}"
    kind = next(kind for error, kind in PROBLEMS.items() if error.code == code)
    assert (problem["title"], problem["status"]) == (kind.title, kind.status)
    assert problem["instance"].startswith("/")
    assert isinstance(problem["retryable"], bool)
    assert problem["moneyMoved"] == "no"
    assert problem["detail"]
