"""What a client wants to trade, as the API takes it."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from bestex.orders.amount import to_units
from bestex.paper.assets import ASSETS
from bestex.paper.market import ABSENT
from bestex.sim.record import Posted

OVER_ANOTHER = ("JUP", "USDC")
"""Clients trade these, too, though no pool of the simulated market does: the way leads over SOL."""
_USERS = 3
_CHANCE_OF_EXACT_OUT = 0.2
_CHANCE_OF_OTHER_ROUTING = 0.3
_CHANCE_UNSOUND = 0.04
_CHANCE_OF_SELLING_NOTHING = 0.2
"""That a client sells what the wallet does not hold at first."""
_USD = (1.0, 20_000.0)
_MOST_RETRIES = 2


class Wish(NamedTuple):
    """A request to place an order; repeated, it is the same to the last byte."""

    posted: Posted
    token_in: str
    token_out: str
    amount: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


def draw_wish(number: int, pairs: Sequence[tuple[str, str]], draw: random.Random) -> Wish:
    """What the client of this number wants."""
    token_in, token_out = draw.choice(pairs)
    if draw.random() < 0.5:
        token_in, token_out = token_out, token_in
    if token_in == ABSENT and draw.random() > _CHANCE_OF_SELLING_NOTHING:
        token_in, token_out = token_out, token_in
    low, high = _USD
    usd = low * (high / low) ** draw.random()
    amount = _worth(usd, token_in)
    fields: dict[str, Any] = {
        "type": "market",
        "tokenIn": token_in if draw.random() < 0.8 else token_in.lower(),
        "tokenOut": token_out,
        "amountIn": amount if draw.random() < 0.5 else msgspec.Raw(amount.encode()),
        **_options(draw),
    }
    if {token_in, token_out} != set(OVER_ANOTHER):
        if draw.random() < _CHANCE_OF_OTHER_ROUTING:
            fields["routing"] = draw.choice(("best", "split", "auto"))
        if draw.random() < _CHANCE_OF_EXACT_OUT:
            del fields["amountIn"]
            fields |= {"swapMode": "ExactOut", "amountOut": _worth(usd, token_out)}
            if draw.random() < 0.5:
                fields["maxAmountIn"] = _worth(usd * draw.uniform(0.95, 1.2), token_in)
    posted = _name(number, draw)
    fields["userId"] = posted.user_id
    headers = [(b"content-type", b"application/json")]
    if posted.key_in_header:
        headers.append((b"idempotency-key", posted.client_order_id.encode()))
    else:
        fields["clientOrderId"] = posted.client_order_id
    if draw.random() < _CHANCE_UNSOUND:
        posted.sound = False
        fields |= draw.choice(_UNSOUND)
    return Wish(posted, token_in, token_out, amount, headers, msgspec.json.encode(fields))


def _worth(usd: float, symbol: str) -> str:
    """Token units, about as many as the dollars buy."""
    asset = ASSETS[symbol]
    return to_units(asset.raw(usd), asset.token.decimals)


_UNSOUND: tuple[dict[str, Any], ...] = (
    {"amountIn": "0"},
    {"amountIn": "0.0000000000001"},
    {"amountIn": "-1"},
    {"tokenOut": "NONE"},
    {"slippageBps": 10_001},
    {"maxRetries": 50},
    {"priority": "high"},
    {"swapMode": "ExactOut", "amountIn": "1"},
    {"routing": "worst"},
    {"unknown": 1},
)


def _name(number: int, draw: random.Random) -> Posted:
    """Users count for themselves: what is a key of one is another's key, too."""
    key = f"order-{number // _USERS}"
    return Posted(client_order_id=key, user_id=f"user-{number % _USERS}", key_in_header=draw.random() < 0.4)


def _options(draw: random.Random) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if draw.random() < 0.5:
        options["slippageBps"] = draw.choice((0, 1, 5, 20, 50, 300))
    if draw.random() < 0.3:
        options["priority"] = draw.randrange(10)
    if draw.random() < 0.3:
        options["maxRetries"] = draw.randrange(_MOST_RETRIES + 1)
    return options
