"""Where each of the demo's orders stands: the sum of its events, ready to be shown."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from bestex.cli.demo.plan import Ending, Planned
from bestex.cli.narrate import Pair, best_of, word
from bestex.orders.events import Canceled, Confirmed, Event, Expired, Failed, Finalized, Retrying, Routed, Submitted

_REFUSED = "refused"


class Stage(msgspec.Struct, frozen=True):
    """A status, and when it began."""

    status: str
    at: datetime


class Progress(msgspec.Struct, kw_only=True):
    """One order of the demo. Amounts and prices in token units."""

    number: int
    planned: Planned
    pair: Pair
    order_id: str = ""
    stages: list[Stage] = []
    raydium: str = ""
    """Best quote of any Raydium pool."""
    meteora: str = ""
    venues: tuple[str, ...] = ()
    """Of the route's legs, the biggest first."""
    tx_hash: str = ""
    executed_price: str = ""
    slippage_bps: str = ""
    """Received against quoted."""
    problem: str = ""
    """Why the order failed, or why a try did."""
    confirmed_after_s: float | None = None
    """From the POST to `confirmed`, as a client sees it."""
    ended: bool = False

    @property
    def venue(self) -> str:
        """The biggest leg's, and how many more legs there are."""
        more = f" +{len(self.venues) - 1}" if len(self.venues) > 1 else ""
        return f"{self.venues[0]}{more}" if self.venues else ""

    @property
    def status(self) -> str:
        """The latest status; empty before the order was placed."""
        return self.stages[-1].status if self.stages else ""

    @property
    def as_planned(self) -> bool:
        """The order ended, and as it should."""
        wanted = "confirmed" if self.planned.ending is Ending.FILLED else "failed"
        return self.ended and self.status == wanted

    def apply(self, event: Event) -> None:
        """Take in the order's next event."""
        if event.status.value != self.status:
            self.stages.append(Stage(word(event), event.at))
        match event:
            case Routed():
                self.raydium = self._best(event, "Raydium")
                self.meteora = self._best(event, "Meteora")
                self.venues = _venues(event.venue, [leg.venue for leg in event.legs])
            case Submitted():
                self.tx_hash = event.tx_hash
            case Confirmed():
                self.venues = _venues(event.venue, [leg.partition(":")[0] for leg in event.legs])
                self.tx_hash = event.tx_hash
                self.executed_price = event.executed_price
                self.slippage_bps = event.slippage_bps_realized
                self.problem = ""
            case Retrying() | Failed():
                self.problem = f"{event.error.code}: {event.error.message}"
            case _:
                pass
        self.ended = isinstance(event, Confirmed | Finalized | Failed | Canceled | Expired)

    def refuse(self, code: str, detail: str, at: datetime) -> None:
        """The server did not take the order."""
        self.stages.append(Stage(_REFUSED, at))
        self.problem = f"{code}: {detail}"
        self.ended = True

    def elapsed_s(self, now: datetime) -> list[tuple[str, float]]:
        """How long each status lasted, in seconds; the latest one is still going on until the order ends."""
        ends = [stage.at for stage in self.stages[1:]]
        lasted = [
            (stage.status, (end - stage.at).total_seconds()) for stage, end in zip(self.stages, ends, strict=False)
        ]
        if self.stages and not self.ended:
            lasted.append((self.status, max(0.0, (now - self.stages[-1].at).total_seconds())))
        return lasted

    def _best(self, event: Routed, dex: str) -> str:
        return self.pair.offered(best_of(event, dex)) or "-"


def _venues(biggest: str, legs: Sequence[str]) -> tuple[str, ...]:
    rest = list(legs)
    if biggest in rest:
        rest.remove(biggest)
    return biggest, *rest
