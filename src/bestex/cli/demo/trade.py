"""One order of the demo: placed through the public API, and followed to its fill or its end."""

import time
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime

from bestex.cli.demo.display import Display
from bestex.cli.demo.plan import Planned
from bestex.cli.demo.progress import Progress
from bestex.client import ApiError, AsyncClient
from bestex.client.results import OrderView, TokenView

USER = "demo"


class Trader:
    """Places the demo's orders, as any program would."""

    def __init__(self, client: AsyncClient, tokens: Mapping[str, TokenView], run_id: str) -> None:
        self._client = client
        self._tokens = tokens
        self._run_id = run_id
        """Keeps the client order ids of one demo apart from those of the next on the same data."""

    async def trade(self, progress: Progress, display: Display) -> None:
        """Place the order and return at its fill or its end; finality is not waited for."""
        posted_s = time.monotonic()
        try:
            progress.order_id = (await self._post(progress)).order_id
            again = (await self._post(progress)).order_id if progress.planned.repeated else progress.order_id
        except ApiError as error:
            progress.refuse(error.code, error.detail, datetime.now(UTC))
            display.refused(progress)
            return
        if again != progress.order_id:
            progress.refuse("DOUBLED", f"one clientOrderId made another order: {again}", datetime.now(UTC))
            display.refused(progress)
            return
        async with aclosing(self._client.watch(progress.order_id)) as events:
            async for event in events:
                progress.apply(event)
                if progress.status == "confirmed":
                    progress.confirmed_after_s = time.monotonic() - posted_s
                display.event(progress, event)
                if progress.ended:
                    return

    async def _post(self, progress: Progress) -> OrderView:
        planned = progress.planned
        return await self._client.place(
            self._name(planned, planned.token_in),
            self._name(planned, planned.token_out),
            None if planned.exact_out else planned.amount,
            amount_out=planned.amount if planned.exact_out else None,
            user_id=USER,
            slippage_bps=planned.slippage_bps,
            priority=planned.priority,
            client_order_id=f"{self._run_id}-{progress.number}",
        )

    def _name(self, planned: Planned, symbol: str) -> str:
        return self._tokens[symbol].mint if planned.by_mint else symbol
