"""The engine's own parts on the paper cluster: book, router, composer and landing meet no surprise, in about the time
that the profiles promise."""

import asyncio
import statistics
from collections import Counter

import msgspec
import pytest

from bestex.execution.building import Composer
from bestex.execution.fill import amounts_moved
from bestex.execution.landing import FailedOnChain, Landed, Landing, Outcome
from bestex.execution.quoting import Quoting
from bestex.market.book import Book
from bestex.market.tokens import Tokens
from bestex.orders.attempt import Attempt, AttemptState
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import FAST, REALISTIC, NetworkProfile
from bestex.paper.running import InPlace
from bestex.types import Commitment, OrderId, Routing, Token
from tests.support.clock import VirtualClock
from tests.support.entropy import SeededEntropy
from tests.support.paper import WALLET

TRADES = [
    ("USDC", "ETH", "1000"),
    ("SOL", "USDC", "2"),
    ("USDC", "SOL", "300"),
    ("ETH", "SOL", "0.1"),
    ("USDC", "JUP", "5"),
]


class Order(msgspec.Struct):
    """How one order went. Seconds."""

    outcome: Outcome
    seconds: dict[str, float]
    paid: int = 0
    received: int = 0
    wanted: int = 0
    least: int = 0


class Trading:
    """What the engine does for an order, without its store."""

    def __init__(self, cluster: PaperCluster, clock: VirtualClock) -> None:
        self.cluster, self.clock = cluster, clock
        self.tokens = Tokens(cluster.tokens)
        self.book = Book(cluster, clock, cluster.pools, max_age_s=0.4)
        self.composer = Composer(WALLET.pubkey())
        self.landing = Landing(cluster, clock, resend_s=2.0, status_poll_s=0.5)

    async def trade(self, number: int, token_in: Token, token_out: Token, amount: int) -> Order:
        seconds: dict[str, float] = {}
        since = self.clock.monotonic_s()

        def passed(status: str) -> None:
            nonlocal since
            now = self.clock.monotonic_s()
            seconds[status], since = now - since, now

        # The earlier hops of a path have no tolerance; here they are left out, as the engine does after such a failure.
        route = await Quoting(self.book, self.tokens).quote(token_in, token_out, amount, 100, routing=Routing.SPLIT)
        passed("pending")
        blockhash, _ = await asyncio.gather(
            self.cluster.latest_blockhash(Commitment.CONFIRMED),
            self.cluster.priority_fees([leg.pool.address for leg in route.legs]),
        )
        await self.cluster.accounts([WALLET.pubkey()], Commitment.CONFIRMED)
        passed("routing")
        composition = self.composer.compose(
            route,
            [self.tokens.of_mint(mint) for mint in route.mints],
            reference=f"0199c0de-0000-7000-8000-{number:012}",
            attempt=1,
            blockhash=blockhash.blockhash,
            unit_limit=1_400_000,
            unit_price_micro_lamports=1_000,
        )
        simulation = await self.cluster.simulate(composition.draft.unsigned())
        assert simulation.error is None, (simulation.error, simulation.logs)
        limited = composition.draft.with_compute_unit_limit(simulation.units_consumed * 6 // 5)
        signature, raw = limited.sign(lambda message: bytes(WALLET.sign_message(message)))
        passed("building")
        attempt = Attempt(
            order_id=OrderId(str(number)),
            number=1,
            state=AttemptState.PREPARED,
            signature=signature,
            transaction=raw,
            blockhash=blockhash.blockhash,
            last_valid_block_height=blockhash.last_valid_block_height,
            in_amount=route.in_amount,
            quoted_out_amount=route.out_amount,
            min_out_amount=route.other_amount_threshold,
            venue=str(route.legs[0].pool.venue),
            pool=str(route.legs[0].pool.address),
            fee_lamports=0,
            created_at_ms=0,
        )
        order = Order(await self.landing.land(attempt), seconds)
        passed("submitted")
        if isinstance(order.outcome, Landed):
            order.paid, order.received = amounts_moved(
                order.outcome.transaction, WALLET.pubkey(), token_in.mint, token_out.mint
            )
            order.wanted, order.least = route.in_amount, route.other_amount_threshold
        return order


async def trade(profile: NetworkProfile, orders: int) -> list[Order]:
    """Trade one order after the other, while traders move the market."""
    clock = VirtualClock()
    cluster = await PaperCluster.open(
        profile=profile,
        clock=clock,
        entropy=SeededEntropy(3),
        path=None,
        seed=1,
        wallet=WALLET.pubkey(),
        runner=InPlace(),
    )
    background = [asyncio.create_task(cluster.run()), asyncio.create_task(clock.drive())]
    trading = Trading(cluster, clock)
    await trading.book.load()
    assert not trading.book.refused
    done = []
    for number in range(orders):
        name_in, name_out, amount = TRADES[number % len(TRADES)]
        token_in, token_out = trading.tokens.find(name_in), trading.tokens.find(name_out)
        done.append(await trading.trade(number, token_in, token_out, int(float(amount) * 10**token_in.decimals)))
    for task in background:
        task.cancel()
    await asyncio.gather(*background, return_exceptions=True)
    return done


def typical(orders: list[Order], status: str) -> float:
    return statistics.median(order.seconds[status] for order in orders)


@pytest.fixture(scope="module")
def realistic() -> list[Order]:
    return asyncio.run(trade(REALISTIC, 30))


@pytest.fixture(scope="module")
def fast() -> list[Order]:
    return asyncio.run(trade(FAST, 60))


def test_orders_are_filled_as_quoted_or_better_than_their_minimum(fast: list[Order], realistic: list[Order]) -> None:
    kinds = Counter(type(order.outcome) for order in fast + realistic)
    assert kinds[Landed] >= len(fast + realistic) - 3
    assert kinds[Landed] + kinds[FailedOnChain] == len(fast + realistic)
    for order in fast + realistic:
        if isinstance(order.outcome, Landed):
            assert order.paid == order.wanted
            assert order.received >= order.least


def test_statuses_last_as_long_as_on_a_busy_mainnet(realistic: list[Order]) -> None:
    # One read of the pair's accounts, or two when the price has moved on to other bin arrays.
    assert 0.7 <= typical(realistic, "pending") <= 2.4
    assert 2.0 <= typical(realistic, "routing") <= 3.0
    assert 1.0 <= typical(realistic, "building") <= 2.0
    assert 1.8 <= typical(realistic, "submitted") <= 4.0


def test_a_fast_order_takes_one_to_three_seconds_at_most(fast: list[Order]) -> None:
    totals = [sum(order.seconds.values()) for order in fast]
    assert 0.3 <= statistics.median(totals) <= 3.0
    assert max(totals) <= 8.0


def test_some_transactions_are_lost_and_sent_again(fast: list[Order]) -> None:
    assert max(order.seconds["submitted"] for order in fast) >= 2.0
