"""Commands about the market: quote, pools, tokens."""

from typing import Annotated

import typer

from bestex.cli.narrate import short
from bestex.cli.options import Amount, ExactOut, Json, Routing, TokenIn, TokenOut, Url, examples
from bestex.cli.output import print_json, print_line, print_table
from bestex.cli.quotes import print_quote
from bestex.client import Client
from bestex.client.protocol import DEFAULT_URL
from bestex.client.results import PoolSide


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "quote",
        epilog=examples(
            "bestex quote 250000 USDC SOL", "bestex quote 2 USDC SOL --exact-out", "bestex quote 1000 USDC ETH --json"
        ),
    )(quote)
    app.command("pools", epilog=examples("bestex pools"))(pools)
    app.command("tokens", epilog=examples("bestex tokens --json"))(tokens)


def quote(
    amount: Amount,
    token_in: TokenIn,
    token_out: TokenOut,
    *,
    exact_out: ExactOut = False,
    routing: Routing = None,
    slippage_bps: Annotated[
        int | None, typer.Option(min=0, max=10_000, help="For the least out, or most in, of an order.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """What an amount would bring now: the route, how far it is from the best possible, and each pool alone."""
    amount_in, amount_out = (None, amount) if exact_out else (amount, None)
    with Client(url) as client:
        answer = client.quote(
            token_in,
            token_out,
            amount_in,
            amount_out=amount_out,
            routing=routing.value if routing else None,
            slippage_bps=slippage_bps,
        )
    if as_json:
        print_json(answer)
    else:
        print_quote(answer)


def pools(*, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """List the pools that the engine trades on."""
    with Client(url) as client:
        answer = client.pools()
    if as_json:
        print_json(answer)
        return
    rows = [(one.label, *_side(one.tokens[0]), *_side(one.tokens[1]), one.fee_pct, one.address) for one in answer.pools]
    columns = ("VENUE", "TOKEN", "RESERVE", "TOKEN", "RESERVE", "FEE %", "POOL")
    print_table(columns, rows, right=("RESERVE", "FEE %"))
    for refused in answer.refused:
        print_line(f"not traded: {refused.address}: {refused.reason}")


def tokens(*, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """List the tokens that the engine knows."""
    with Client(url) as client:
        answer = client.tokens()
    if as_json:
        print_json(answer)
        return
    rows = [(token.symbol, str(token.decimals), token.mint) for token in answer.tokens]
    print_table(("SYMBOL", "DECIMALS", "MINT"), rows, right=("DECIMALS",))


def _side(token: PoolSide) -> tuple[str, str]:
    return token.symbol or short(token.mint), token.reserve or f"{token.reserve_raw} raw"
