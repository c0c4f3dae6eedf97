"""From a route to a signed attempt: compose, simulate, sign. Nothing is sent here."""

import asyncio

from bestex.execution import narrate
from bestex.execution.building import Composer, Composition
from bestex.execution.conditions import Conditions
from bestex.execution.journal import Journal
from bestex.execution.retry import failed_transaction
from bestex.execution.risk import check_funds
from bestex.market.tokens import Tokens
from bestex.orders.attempt import Attempt, AttemptState
from bestex.orders.order import Order
from bestex.ports import Blockhash, Clock, Cluster, Signer
from bestex.routing.quote import Route
from bestex.solana.transaction import MAX_COMPUTE_UNITS, fee_lamports
from bestex.types import Commitment, SwapMode


class Signing:
    """Makes attempts of orders, any number at once."""

    def __init__(
        self, *, cluster: Cluster, clock: Clock, signer: Signer, tokens: Tokens, conditions: Conditions
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._signer = signer
        self._tokens = tokens
        self._conditions = conditions
        self._composer = Composer(signer.pubkey)

    async def sign(self, journal: Journal, route: Route) -> tuple[Attempt, int]:
        """Compose, simulate and sign; with the compute unit limit. Event: built."""
        pools = sorted({leg.pool.address for leg in route.legs}, key=bytes)
        blockhash, unit_price = await self._conditions.of(pools)
        composition = self._compose(journal.order, route, blockhash, unit_price)
        journal.note(narrate.built(journal.order, composition, blockhash, MAX_COMPUTE_UNITS, unit_price))
        unit_limit = await self._simulate(journal.order, route, composition)
        signature, signed = composition.draft.with_compute_unit_limit(unit_limit).sign(self._signer.sign)
        leg = route.biggest
        attempt = Attempt(
            order_id=journal.order.id,
            number=journal.order.attempts + 1,
            state=AttemptState.PREPARED,
            signature=signature,
            transaction=signed,
            blockhash=blockhash.blockhash,
            last_valid_block_height=blockhash.last_valid_block_height,
            in_amount=route.in_amount,
            quoted_out_amount=route.out_amount,
            min_out_amount=route.least_out,
            max_in_amount=route.most_in,
            swaps=[f"{leg.pool.venue}:{leg.pool.address}" for leg in route.legs],
            venue=leg.pool.venue,
            pool=str(leg.pool.address),
            fee_lamports=fee_lamports(unit_limit, unit_price),
            created_at_ms=self._clock.now_ms(),
        )
        return attempt, unit_limit

    def _compose(self, order: Order, route: Route, blockhash: Blockhash, unit_price: int) -> Composition:
        return self._composer.compose(
            route,
            [self._tokens.of_mint(mint) for mint in route.mints],
            reference=order.id,
            attempt=order.attempts + 1,
            blockhash=blockhash.blockhash,
            unit_limit=MAX_COMPUTE_UNITS,
            unit_price_micro_lamports=unit_price,
        )

    async def _simulate(self, order: Order, route: Route, composition: Composition) -> int:
        """The compute unit limit to set: 1.2 times what the simulation used. Raises as the chain would refuse.

        A simulation that succeeds has spent what the order spends: the wallet is looked into only where it fails, and
        where an exact output may come to cost more than it does in the simulation.
        """
        transaction = composition.draft.unsigned()
        if order.terms.swap_mode is SwapMode.EXACT_OUT:
            simulation, _ = await asyncio.gather(self._cluster.simulate(transaction), self._check_funds(order, route))
        else:
            simulation = await self._cluster.simulate(transaction)
        if simulation.error is not None:
            await self._check_funds(order, route)
            raise failed_transaction(simulation.error, landed=False)
        return min(MAX_COMPUTE_UNITS, simulation.units_consumed * 6 // 5)

    async def _check_funds(self, order: Order, route: Route) -> None:
        """Raise InsufficientFunds if the wallet is short."""
        token_in = self._tokens.find(order.terms.in_mint)
        payers = [self._signer.pubkey, self._composer.source_account(token_in)]
        funds = await self._cluster.accounts(payers, Commitment.CONFIRMED)
        check_funds(token_in, route.most_in, *funds.accounts)
