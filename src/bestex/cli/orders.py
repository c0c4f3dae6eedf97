"""Commands about orders: order, watch, orders, cancel."""

from typing import Annotated

import typer

from bestex.cli.exits import ExitCode
from bestex.cli.narrate import Pair, clock, line
from bestex.cli.options import Amount, ExactOut, Json, JsonLines, OrderId, Routing, TokenIn, TokenOut, Url, examples
from bestex.cli.output import print_json, print_line, print_table
from bestex.client import Client
from bestex.client.protocol import DEFAULT_URL
from bestex.client.results import OrderView
from bestex.orders.events import Canceled, Event, Expired, Failed, encode_event
from bestex.orders.status import Status


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "order",
        epilog=examples(
            "bestex order 1000 USDC ETH --watch",
            "bestex order 2.5 SOL USDC --priority 5",
            "bestex order 2 USDC SOL --exact-out --max-in 310",
        ),
    )(order)
    app.command("watch", epilog=examples("bestex watch ID --from 3", "bestex watch ID --json | jq .status"))(watch)
    app.command("orders", epilog=examples("bestex orders --user alice --status failed", "bestex orders --active"))(
        orders
    )
    app.command("cancel", epilog=examples("bestex cancel ID"))(cancel)


def order(
    amount: Amount,
    token_in: TokenIn,
    token_out: TokenOut,
    *,
    exact_out: ExactOut = False,
    max_in: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="With --exact-out: spend no more TOKEN_IN than this.")
    ] = None,
    routing: Routing = None,
    user: Annotated[str, typer.Option("--user", envvar="BESTEX_USER", help="Whose order it is.")] = "cli",
    slippage_bps: Annotated[
        int | None, typer.Option(min=0, max=10_000, help="Accept so much worse than quoted, in basis points.")
    ] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="Greater is served first.")] = None,
    client_order_id: Annotated[
        str | None, typer.Option(help="Your own id: the same one again never makes a second order.")
    ] = None,
    max_retries: Annotated[int | None, typer.Option(min=0, help="Further tries after the first one.")] = None,
    watching: Annotated[bool, typer.Option("--watch", "-w", help="Follow the order to its end.")] = False,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Place a market order."""
    if max_in is not None and not exact_out:
        raise typer.BadParameter("--max-in goes with --exact-out; otherwise exactly AMOUNT is spent")
    with Client(url) as client:
        placed = client.place(
            token_in,
            token_out,
            None if exact_out else amount,
            amount_out=amount if exact_out else None,
            max_amount_in=max_in,
            routing=routing.value if routing else None,
            user_id=user,
            slippage_bps=slippage_bps,
            priority=priority,
            client_order_id=client_order_id,
            max_retries=max_retries,
        )
        if watching:
            if not as_json:
                print_line(placed.order_id)
            _follow(client, placed.order_id, 1, as_json=as_json)
        elif as_json:
            print_json(placed)
        else:
            print_line(placed.order_id)


def watch(
    order_id: OrderId,
    *,
    from_seq: Annotated[int, typer.Option("--from", min=1, help="Sequence number of the first event.")] = 1,
    url: Url = DEFAULT_URL,
    as_json: JsonLines = False,
) -> None:
    """Follow an order's events to its end; past ones come first.

    Exits with 1 when the order ends without a fill. Survives lost connections and restarts of the server.
    """
    with Client(url) as client:
        _follow(client, order_id, from_seq, as_json=as_json)


def orders(
    *,
    user: Annotated[str | None, typer.Option("--user", help="Only this user's.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only in this status.")] = None,
    active: Annotated[bool, typer.Option("--active", help="Only those that have not ended, oldest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on where an earlier page ended.")] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """List orders, newest first."""
    if active and (user or status or cursor):
        raise typer.BadParameter("--active takes no --user, --status or --cursor")
    with Client(url) as client:
        if active:
            listed = client.active(limit=limit)
            if as_json:
                print_json(listed)
            else:
                _print_orders(listed.orders)
            return
        page = client.orders(user_id=user, status=status, cursor=cursor, limit=limit)
    if as_json:
        print_json(page)
        return
    _print_orders(page.orders)
    if page.next_cursor:
        print_line(f"more: --cursor {page.next_cursor}")


def cancel(order_id: OrderId, *, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Cancel an order.

    Once its transaction may land this is a request: the order ends as canceled only if the swap is proven dead.
    """
    with Client(url) as client:
        answer = client.cancel(order_id)
    if as_json:
        print_json(answer)
    elif answer.status is Status.CANCELED:
        print_line(f"{order_id} is canceled")
    else:
        print_line(f"{order_id} is {answer.status}: asked to cancel, but its transaction may still land")


def _follow(client: Client, order_id: str, from_seq: int, *, as_json: bool) -> None:
    pair = Pair("", "", None) if as_json else _pair_of(client, order_id)
    last: Event | None = None
    for event in client.watch(order_id, from_seq):
        print_line(encode_event(event).decode() if as_json else line(event, pair))
        last = event
    if isinstance(last, Failed | Canceled | Expired):
        raise typer.Exit(ExitCode.FAILED)


def _pair_of(client: Client, order_id: str) -> Pair:
    found = client.order(order_id)
    tokens = client.tokens().tokens
    decimals = {token.symbol: token.decimals for token in tokens}
    symbols = {token.mint: token.symbol for token in tokens}
    return Pair(
        found.token_in,
        found.token_out,
        decimals.get(found.token_out),
        symbols=symbols,
        exact_out=found.swap_mode == "ExactOut",
        in_decimals=decimals.get(found.token_in),
    )


def _print_orders(listed: list[OrderView]) -> None:
    if not listed:
        print_line("no orders")
        return
    rows = [
        (
            one.id,
            one.status.value,
            one.user_id,
            f"{one.amount_in or '-'} {one.token_in}",
            f"{one.amount_out or '-'} {one.token_out}",
            one.executed_price or "-",
            one.venue or "-",
            f"{one.created_at.date()} {clock(one.created_at)}",
        )
        for one in listed
    ]
    print_table(("ID", "STATUS", "USER", "IN", "OUT", "PRICE", "VENUE", "CREATED"), rows, right=("IN", "OUT", "PRICE"))
