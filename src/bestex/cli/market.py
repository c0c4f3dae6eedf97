"""Commands about the market: quote, pools, tokens."""

from decimal import Decimal
from typing import Annotated

import typer
from rich.text import Text

from bestex.cli.narrate import short
from bestex.cli.options import Amount, Json, TokenIn, TokenOut, Url, examples
from bestex.cli.output import print_json, print_line, print_table
from bestex.client import Client
from bestex.client.protocol import DEFAULT_URL
from bestex.client.results import Offer, PoolSide, Quote
from bestex.orders.amount import to_units


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("quote", epilog=examples("bestex quote 1000 USDC ETH", "bestex quote 1000 USDC ETH --json"))(quote)
    app.command("pools", epilog=examples("bestex pools"))(pools)
    app.command("tokens", epilog=examples("bestex tokens --json"))(tokens)


def quote(
    amount: Amount,
    token_in: TokenIn,
    token_out: TokenOut,
    *,
    slippage_bps: Annotated[
        int | None, typer.Option(min=0, max=10_000, help="For the least that an order would accept.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """What an amount would bring now: every pool's quote, best first, and how much worse than the best it is."""
    with Client(url) as client:
        answer = client.quote(token_in, token_out, amount, slippage_bps=slippage_bps)
    if as_json:
        print_json(answer)
    else:
        _print_quote(answer)


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


def behind_bps(out_amount: int, best: int) -> str:
    """How much less than the best quote, in basis points: `-12.3`; the best itself is `0.0`."""
    return f"{Decimal(out_amount - best) * 10_000 / best:.1f}"


def _print_quote(answer: Quote) -> None:
    best = int(answer.out_amount)
    out = f"OUT {answer.token_out}"
    rows = [_offer(one, best) for one in answer.quotes]
    print_table(("VENUE", out, "PRICE", "BPS TO BEST", "POOL"), rows, right=(out, "PRICE", "BPS TO BEST"))
    token_units_per_base_unit = Decimal(answer.amount_out) / best
    least = to_units(int(answer.other_amount_threshold), -token_units_per_base_unit.adjusted())
    simulated = "; SIMULATED" if answer.simulated else ""
    print_line(
        f"price impact {answer.price_impact_pct} %; at {answer.slippage_bps} bps slippage "
        f"an order accepts no less than {least} {answer.token_out}{simulated}"
    )


def _offer(one: Offer, best: int) -> tuple[str | Text, ...]:
    if one.out_amount is None or one.amount_out is None:
        return one.label, "-", "-", "-", f"{one.pool} ({one.error or 'no quote'})"
    style = "bold green" if int(one.out_amount) == best else ""
    behind = behind_bps(int(one.out_amount), best)
    return Text(one.label, style=style), Text(one.amount_out, style=style), one.price or "-", behind, one.pool


def _side(token: PoolSide) -> tuple[str, str]:
    return token.symbol or short(token.mint), token.reserve or f"{token.reserve_raw} raw"
