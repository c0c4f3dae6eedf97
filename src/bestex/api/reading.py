"""From a request's bytes to a well-formed order request, exactly: no number passes through a binary float."""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from bestex.api.refusals import FieldProblem, MalformedHeader, MalformedJson, UnsupportedMediaType
from bestex.api.schemas import AMOUNTS, RULES, PlaceOrder, SwapModeName, swap_mode_of
from bestex.api.wire import Headers
from bestex.errors import InvalidOrder
from bestex.execution.intake import OrderRequest

_KEY_LENGTH = 128
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(r"[!#-~]+")
_ESCAPED = re.compile(r'\\(["\\])')
_UNFIT = (msgspec.ValidationError, UnicodeEncodeError)
"""A lone surrogate, which JSON's escapes can write, is no text to msgspec."""
_MOST_TOLD = 10
"""Problems named in one answer."""
_OTHER_AMOUNT = {
    "ExactIn": "say swapMode ExactOut to receive an exact amount",
    "ExactOut": "say amountOut; an order may add maxAmountIn",
}
_INT_DIGITS = 18
"""Longer integers stay text: the schema refuses them anyway where it wants an int."""


class Number:
    """A JSON number as it was written."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def read_key(headers: Headers) -> str | None:
    """Check the headers; the `Idempotency-Key`, if any. Raises UnsupportedMediaType, MalformedHeader."""
    key: bytes | None = None
    content_type, from_browser = b"", False
    for name, value in headers:
        if name == b"content-type":
            content_type = value.strip().lower()
        elif name == b"idempotency-key":
            if key is not None:
                raise MalformedHeader("Idempotency-Key is given twice", header="Idempotency-Key")
            key = value
        elif name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise UnsupportedMediaType("a compressed body is not read; send it without Content-Encoding")
        elif name == b"origin":
            from_browser = True
    if content_type != b"application/json":
        _check_type(content_type, from_browser=from_browser)
    return None if key is None else _idempotency_key(key)


def read_order(body: bytes, idempotency_key: str | None, most_retries: int) -> OrderRequest:
    """The order that a body asks for. Raises MalformedJson, InvalidOrder with every field that is wrong."""
    fields = parse_object(body)
    for name in AMOUNTS & fields.keys():
        amount = fields[name]
        if type(amount) is Number:
            fields[name] = amount.text
        elif type(amount) is int:
            fields[name] = str(amount)
    try:
        wanted = msgspec.convert(fields, PlaceOrder)
    except _UNFIT:
        _refuse(fields, most_retries)
    if _is_odd(wanted) or (wanted.max_retries or 0) > most_retries:
        _refuse(fields, most_retries)
    return OrderRequest(
        type=wanted.type,
        token_in=wanted.token_in,
        token_out=wanted.token_out,
        amount_in=wanted.amount_in,
        amount_out=wanted.amount_out,
        max_amount_in=wanted.max_amount_in,
        swap_mode=swap_mode_of(wanted.swap_mode),
        routing=wanted.routing,
        user_id=wanted.user_id,
        slippage_bps=wanted.slippage_bps,
        priority=wanted.priority,
        client_order_id=wanted.client_order_id,
        max_retries=wanted.max_retries,
        idempotency_key=idempotency_key,
    )


def parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object with short integers as int and all other numbers as Number. Raises MalformedJson, InvalidOrder."""
    try:
        parsed = _decode(body.decode())
    except UnicodeDecodeError as error:
        raise MalformedJson(f"the body is not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise MalformedJson("the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        if error.pos == 0 and body.startswith(b"\xef\xbb\xbf"):
            raise MalformedJson("the body begins with a byte order mark; send UTF-8 without it") from None
        raise MalformedJson(f"the body is not JSON: {error.msg} at position {error.pos}") from None
    if not isinstance(parsed, dict):
        raise MalformedJson("the body must be a JSON object")
    return parsed


def amounts_wrong(swap_mode: SwapModeName, amounts: Mapping[str, str | None]) -> list[FieldProblem]:
    """What is wrong with the choice of amounts, whatever they say: each swap mode has its own."""
    exact_in = swap_mode == "ExactIn"
    needed, other = ("amountIn", "amountOut") if exact_in else ("amountOut", "amountIn")
    problems = []
    if amounts.get(needed) is None:
        problems.append(FieldProblem(needed, f"is missing: swapMode is {swap_mode}"))
    if amounts.get(other) is not None:
        problems.append(FieldProblem(other, f"is not taken with swapMode {swap_mode}: {_OTHER_AMOUNT[swap_mode]}"))
    if exact_in and amounts.get("maxAmountIn") is not None:
        problems.append(FieldProblem("maxAmountIn", "is not taken with swapMode ExactIn: amountIn is spent, no more"))
    return problems


def is_printable(text: str) -> bool:
    """Whether a text can be shown as it is: no control characters, no spaces around it."""
    return text.isprintable() and text.strip() == text


def _is_odd(wanted: PlaceOrder) -> bool:
    client_order_id = wanted.client_order_id
    exact_in = wanted.swap_mode == "ExactIn"
    return (
        (wanted.amount_in is None) is exact_in
        or (wanted.amount_out is not None) is exact_in
        or (exact_in and wanted.max_amount_in is not None)
    ) or not (
        is_printable(wanted.user_id)
        and (client_order_id is None or (client_order_id.isascii() and client_order_id.isprintable()))
    )


def _refuse(fields: dict[str, Any], most_retries: int) -> NoReturn:
    """Name every field that is wrong, and say what it must be."""
    problems = [FieldProblem(_shown(name), "is not a field of an order") for name in fields if name not in RULES]
    for field in msgspec.structs.fields(PlaceOrder):
        name = field.encode_name
        if name not in fields:
            if field.required:
                problems.append(FieldProblem(name, "is missing"))
        elif not _fits(name, field.type, fields[name], most_retries):
            problems.append(FieldProblem(name, RULES[name].format(most_retries=most_retries)))
    swap_mode = fields.get("swapMode", "ExactIn")
    if swap_mode in ("ExactIn", "ExactOut"):
        named = {problem.field for problem in problems}
        amounts = {name: fields.get(name) for name in AMOUNTS}
        problems += [problem for problem in amounts_wrong(swap_mode, amounts) if problem.field not in named]
    del problems[_MOST_TOLD:]
    raise InvalidOrder("; ".join(f"{problem.field} {problem.message}" for problem in problems), errors=problems)


def _shown(name: str) -> str:
    """A field's name as an answer may repeat it."""
    return name[:64] if name[:64].isprintable() and name else ascii(name[:64])


def _fits(name: str, kind: Any, value: object, most_retries: int) -> bool:
    try:
        fitted = msgspec.convert(value, kind)
    except _UNFIT:
        return False
    match name, fitted:
        case "userId", str(text):
            return is_printable(text)
        case "clientOrderId", str(text):
            return text.isascii() and text.isprintable()
        case "maxRetries", int(count):
            return count <= most_retries
    return True


def _check_type(content_type: bytes, *, from_browser: bool) -> None:
    """Refuse a body that is not declared as JSON in UTF-8. A program may leave the declaration out, a browser not.

    Any web page can make a browser POST to this server, but only without a content type or with a harmless one.
    """
    if not content_type:
        if from_browser:
            raise UnsupportedMediaType("a request from a web page must say Content-Type: application/json")
        return
    media, *parameters = (part.strip() for part in content_type.split(b";"))
    is_json = media == b"application/json" or (media.startswith(b"application/") and media.endswith(b"+json"))
    charsets = {part[8:].strip(b'"') for part in parameters if part.startswith(b"charset=")}
    if not is_json or charsets - {b"utf-8", b"utf8"}:
        shown = content_type[:100].decode("latin-1")
        raise UnsupportedMediaType(f"the body must be application/json in UTF-8, not {shown}", content_type=shown)


def _idempotency_key(value: bytes) -> str:
    """The key, whether it comes bare or as a quoted string of RFC 8941."""
    text = value.decode("latin-1").strip()
    if match := _QUOTED.fullmatch(text):
        key = _ESCAPED.sub(r"\1", match[1])
    elif _BARE.fullmatch(text):
        key = text
    else:
        key = ""
    if not 1 <= len(key) <= _KEY_LENGTH:
        raise MalformedHeader(
            f"Idempotency-Key must be 1 to {_KEY_LENGTH} printable ASCII characters, bare or in double quotes",
            header="Idempotency-Key",
        )
    return key


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set[str] = set()
        twice = _shown(next(name for name, _ in pairs if name in seen or seen.add(name)))  # type: ignore[func-returns-value]
        raise InvalidOrder(f"{twice} is given twice", errors=[FieldProblem(twice, "is given twice")])
    return fields


def _int(text: str) -> int | Number:
    return int(text) if len(text) <= _INT_DIGITS else Number(text)


def _constant(text: str) -> NoReturn:
    raise MalformedJson(f"{text} is not JSON")


_decode = json.JSONDecoder(
    object_pairs_hook=_fields, parse_float=Number, parse_int=_int, parse_constant=_constant
).decode
