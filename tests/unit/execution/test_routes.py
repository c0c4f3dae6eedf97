"""Orders over several legs, with a fixed input or output, against a chain that executes them."""

from pathlib import Path
from typing import Any

import pytest

from bestex.errors import InvalidOrder, NoRoute
from bestex.execution.intake import OrderRequest
from bestex.orders.events import Built, Confirmed, Event, Failed, Retrying, Routed, Submitted
from bestex.orders.order import Order, OrderType
from bestex.orders.status import Status
from bestex.paper.assets import ASSETS
from bestex.types import Account, Mint, Routing, SwapMode
from tests.support.paper import ETH, USDC, WALLET, Client, ata, balance, create_ata, lamports, pool_at, pools_of, swap
from tests.support.world import Incarnation, World, go_on, request, world


def exact_out(token_in: str, token_out: str, amount: str, **more: Any) -> OrderRequest:
    return OrderRequest(
        type=OrderType.MARKET, token_in=token_in, token_out=token_out, amount_out=amount, user_id="u",
        swap_mode=SwapMode.EXACT_OUT, **more,
    )  # fmt: skip


async def done(chain: World, engine: Incarnation, wanted: OrderRequest) -> tuple[Order, list[Event]]:
    order = (await engine.intake.place(wanted)).order
    return await chain.until_terminal(engine, order.id)


def event(events: list[Event], kind: type[Event]) -> Any:
    return next(each for each in events if isinstance(each, kind))


def held(chain: World, symbol: str) -> int:
    if symbol == "SOL":
        return lamports(chain.paper, WALLET.pubkey())
    return balance(chain.paper, ata(ASSETS[symbol].token.mint))


@pytest.mark.parametrize(
    ("token_in", "token_out", "amount"), [("USDC", "SOL", "250000"), ("SOL", "USDC", "5000"), ("USDC", "ETH", "900000")]
)
async def test_a_large_order_is_split_and_fills_exactly_as_quoted(
    tmp_path: Path, token_in: str, token_out: str, amount: str
) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        before = {symbol: held(chain, symbol) for symbol in (token_in, token_out)}
        order, events = await done(chain, engine, request(token_in, token_out, amount))
        routed, confirmed = event(events, Routed), event(events, Confirmed)
        assert (routed.kind, routed.routing) == ("split", "auto")
        assert len(routed.legs) == len(confirmed.legs) >= 2
        assert sum(int(leg.in_amount) for leg in routed.legs) == order.terms.in_amount
        assert sum(int(leg.out_amount) for leg in routed.legs) == int(routed.out_amount)
        assert sum(int(leg.other_amount_threshold) for leg in routed.legs) >= int(routed.other_amount_threshold)
        assert float(routed.gain_over_single_bps) > 0
        assert 0 <= int(routed.optimality_gap) <= 30, "rounding"
        assert routed.alternatives[0].kind == "single"
        assert event(events, Built).size_bytes <= 1232
        assert order.fill is not None
        assert (order.fill.in_amount, order.fill.out_amount) == (order.terms.in_amount, int(routed.out_amount))
        assert (confirmed.quote_difference, confirmed.slippage_bps_realized) == ("0", "0.00")
        fee = {"SOL": order.fill.fee_lamports}
        paid, got = (held(chain, symbol) - before[symbol] for symbol in (token_in, token_out))
        assert paid + fee.get(token_in, 0) == -order.fill.in_amount
        assert got + fee.get(token_out, 0) == order.fill.out_amount


async def test_routing_best_takes_one_pool(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        _, events = await done(chain, engine, request(amount="250000", routing=Routing.BEST))
        routed = event(events, Routed)
        assert (routed.kind, len(routed.legs), routed.gain_over_single_bps) == ("single", 1, "0.00")
        assert routed.out_amount == routed.quotes[0].out_amount


@pytest.mark.parametrize(("token_in", "token_out"), [("BTC", "RAY"), ("BONK", "USDT"), ("ETH", "JUP")])
async def test_a_path_leads_where_no_pool_does(tmp_path: Path, token_in: str, token_out: str) -> None:
    """Over USDC, and over SOL that is wrapped for the one transaction."""
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        before = {symbol: held(chain, symbol) for symbol in ASSETS}
        order, events = await done(chain, engine, request(token_in, token_out, "1"))
        routed, confirmed = event(events, Routed), event(events, Confirmed)
        assert routed.kind == "path"
        assert [leg.hop for leg in routed.legs] == sorted(leg.hop for leg in routed.legs)
        first = [leg for leg in routed.legs if leg.hop == 0]
        assert all(leg.other_amount_threshold == leg.out_amount for leg in first), "hops hand over exactly"
        assert confirmed.quote_difference == "0"
        assert order.fill is not None
        after = {symbol: held(chain, symbol) for symbol in ASSETS}
        assert before[token_in] - after[token_in] == order.fill.in_amount == order.terms.in_amount
        assert after[token_out] - before[token_out] == order.fill.out_amount == int(routed.out_amount)
        rent = 2_039_280 if token_out == "JUP" else 0
        assert before["SOL"] - after["SOL"] == order.fill.fee_lamports + rent
        for symbol in ASSETS.keys() - {token_in, token_out, "SOL"}:
            assert after[symbol] == before[symbol], "nothing is left on the way"


async def test_paths_are_for_exact_inputs_with_routing_auto(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().open()
        for wanted in (
            request("BTC", "RAY", "1", routing=Routing.SPLIT),
            request("BTC", "RAY", "1", routing=Routing.BEST),
            exact_out("BTC", "RAY", "1"),
        ):
            with pytest.raises(NoRoute, match="routing auto may go over other tokens"):
                await engine.intake.place(wanted)


@pytest.mark.parametrize(
    ("token_in", "token_out", "amount"), [("USDC", "SOL", "1500"), ("SOL", "USDC", "250000"), ("USDC", "ETH", "0.5")]
)
async def test_an_exact_output_is_exact(tmp_path: Path, token_in: str, token_out: str, amount: str) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        before = {symbol: held(chain, symbol) for symbol in (token_in, token_out)}
        order, events = await done(chain, engine, exact_out(token_in, token_out, amount))
        routed, confirmed = event(events, Routed), event(events, Confirmed)
        assert order.fill is not None
        assert order.fill.out_amount == order.terms.out_amount == int(routed.out_amount)
        assert order.fill.in_amount == int(routed.in_amount)
        assert confirmed.quote_difference == "0"
        assert sum(int(leg.other_amount_threshold) for leg in routed.legs) <= int(routed.other_amount_threshold)
        assert int(routed.bound) <= int(routed.in_amount)
        fee = order.fill.fee_lamports if token_in == "SOL" else 0
        assert before[token_in] - held(chain, token_in) == order.fill.in_amount + fee, "what is not needed comes back"


async def test_no_more_is_paid_than_the_client_allows(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        order, events = await done(chain, engine, exact_out("USDC", "SOL", "1", max_amount_in="10"))
        assert order.status is Status.FAILED
        assert event(events, Failed).error.code == "NO_ROUTE"
        assert await chain.fills(order.id) == 0
        quoted = order = (await done(chain, engine, exact_out("USDC", "SOL", "1")))[0]
        assert quoted.fill is not None
        just = str(quoted.fill.in_amount + 2)
        exactly = f"{just[:-6]}.{just[-6:]}"
        order, events = await done(
            chain, engine, exact_out("USDC", "SOL", "1", max_amount_in=exactly, slippage_bps=500)
        )
        assert order.status is Status.CONFIRMED
        assert event(events, Routed).other_amount_threshold == just


async def test_a_pool_that_asks_more_than_allowed_is_quoted_again(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()

        async def move_the_pool() -> None:
            chain.cluster.before_send = go_on
            routed = event(await chain.events(engine, order.id), Routed)
            pool = pool_at(chain.paper, Mint.from_string(routed.legs[-1].pool))
            await Client(chain.paper).send(swap(pool, USDC, pool.reserves[pool.mints.index(USDC)] // 5))
            await chain.clock.sleep(2)

        order = (await engine.intake.place(exact_out("USDC", "ETH", "300"))).order
        chain.cluster.before_send = move_the_pool
        order, events = await chain.until_terminal(engine, order.id)
        assert event(events, Retrying).error.code == "SLIPPAGE_EXCEEDED"
        assert len(event(events, Routed).legs) > 1
        assert order.fill is not None
        assert order.fill.out_amount == order.terms.out_amount
        assert await chain.fills(order.id) == 1


async def test_when_pools_moved_in_between_the_event_says_by_how_much(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()

        async def nudge() -> None:
            chain.cluster.before_send = go_on
            routed = event(await chain.events(engine, order.id), Routed)
            pool = pool_at(chain.paper, Mint.from_string(routed.pool))
            await Client(chain.paper).send(swap(pool, USDC, pool.reserves[pool.mints.index(USDC)] // 2_000))
            await chain.clock.sleep(2)

        order = (await engine.intake.place(request("USDC", "ETH", "900000", slippage_bps=300))).order
        chain.cluster.before_send = nudge
        order, events = await chain.until_terminal(engine, order.id)
        confirmed = event(events, Confirmed)
        assert order.fill is not None
        assert int(confirmed.quote_difference) == order.fill.out_amount - int(event(events, Routed).out_amount) < 0
        assert float(confirmed.slippage_bps_realized) < 0


async def test_amounts_that_contradict_the_mode_are_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().open()
        for wanted in (
            request(amount_out="1"),
            request(max_amount_in="1"),
            exact_out("USDC", "SOL", "1", amount_in="1"),
            request(amount=None),  # type: ignore[arg-type]  # wrong on purpose
        ):
            with pytest.raises(InvalidOrder, match="exact_"):
                await engine.intake.place(wanted)


@pytest.mark.parametrize("sent", [False, True])
async def test_after_a_pool_has_moved_no_path_is_tried_again_beside_pools_of_the_pair(
    tmp_path: Path, sent: bool
) -> None:
    """Where nothing was sent yet, the next try begins at once: it takes another way."""
    async with world(tmp_path) as chain:
        for pool in pools_of(chain.paper, USDC, ETH):
            await Client(chain.paper).send(swap(pool, USDC, pool.reserves[pool.mints.index(USDC)] // 10))
        await chain.clock.sleep(3)
        engine = await chain.incarnation().start()

        async def move_the_first_pool() -> None:
            chain.cluster.before_send = chain.cluster.before_simulate = go_on
            while not (told := [each for each in await chain.events(engine, order.id) if isinstance(each, Routed)]):
                await chain.clock.sleep(0.01)
            first = told[0].legs[0]
            pool = pool_at(chain.paper, Mint.from_string(first.pool))
            me, between = WALLET.pubkey(), Mint.from_string(first.output_mint)
            await Client(chain.paper).send(create_ata(me, me, between), swap(pool, USDC, 10**10))
            await chain.clock.sleep(2)

        # The pools of the pair have become dear: a path pays far more.
        order = (await engine.intake.place(request("USDC", "ETH", "1000"))).order
        setattr(chain.cluster, "before_send" if sent else "before_simulate", move_the_first_pool)
        order, events = await chain.until_terminal(engine, order.id)
        routed = [each for each in events if isinstance(each, Routed)]
        assert routed[0].kind == "path"
        failed = event(events, Retrying)
        assert failed.error.code == "SLIPPAGE_EXCEEDED"
        assert (failed.retry_at > failed.at) is sent
        assert routed[1].kind in {"single", "split"}
        assert order.status is Status.CONFIRMED


async def test_an_exact_output_that_may_cost_more_than_the_wallet_holds_is_not_signed(tmp_path: Path) -> None:
    """It would do now: the simulation succeeds."""
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        purse = ata(USDC)
        account = chain.paper.validator.chain.state.get(purse)
        assert account is not None
        data = account.data[:64] + (110 * 10**6).to_bytes(8, "little") + account.data[72:]
        await chain.paper.validator.amend({purse: Account(account.owner, account.lamports, data)})
        now, _ = await done(chain, engine, exact_out("USDC", "SOL", "0.06", slippage_bps=1_000))
        assert now.status is Status.CONFIRMED
        order, events = await done(chain, engine, exact_out("USDC", "SOL", "0.6", slippage_bps=1_000))
        assert not any(isinstance(each, Submitted) for each in events)
        assert order.status is Status.FAILED
        assert event(events, Failed).error.code == "INSUFFICIENT_FUNDS"
