"""Leases, and the rate limit over all workers: both are in the database, which every worker asks."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import asyncpg

from bestex.ports import Claim as Claimed
from bestex.ports import Claims
from bestex.store import pg_rows, statements
from bestex.store.commit import Operation
from bestex.store.operations import Claim, ClaimUnfinal, Ping, Renew
from bestex.store.pg_calls import Calls
from bestex.types import OrderId

_sql = statements.load("postgres/lease")
_TO_FILL = (0, 1)
_UNFINAL = (2,)
"""Lanes."""

AnyClaim: TypeAlias = Claim | ClaimUnfinal


class Leases:
    """What a batch asks of leases."""

    def __init__(self, operations: Sequence[Operation[Any]]) -> None:
        self._others = [each for each in operations if isinstance(each, Renew | Ping)]
        self._claims: list[AnyClaim] = [each for each in operations if isinstance(each, Claim | ClaimUnfinal)]
        self._places: list[tuple[AnyClaim, int]] = []

    def call(self, calls: Calls) -> None:
        """Add what is to be done."""
        for other in self._others:
            if isinstance(other, Renew):
                calls.renew(other)
            else:
                calls.beat()
        for claim in self._claims:
            place = calls.claim(claim) if isinstance(claim, Claim) else calls.claim_unfinal(claim)
            self._places.append((claim, place))

    def answer(self, answers: asyncpg.Record) -> None:
        """Tell each claim what it has got."""
        for claim, place in self._places:
            found, next_due_ms = answers[place]
            claim.answer = Claims(_leased(found or (), claim), next_due_ms)

    async def find(self, connection: asyncpg.Connection, writer: object) -> None:
        """Tell each claim what it has got, after the answer was lost. `writer`: its latest batch is this one."""
        told: set[OrderId] = set()
        for claim in self._claims:
            lanes = _UNFINAL if isinstance(claim, ClaimUnfinal) else _TO_FILL
            until_ms = claim.now_ms + claim.lease_ms
            found = _leased(await connection.fetch(_sql["claimed"], writer, claim.worker, until_ms, lanes), claim)
            new = [each for each in found if each.order.id not in told]
            told.update(each.order.id for each in new)
            claim.answer = Claims(new, claim.now_ms)  # there may be more: the next claim tells


def _leased(rows: Sequence[asyncpg.Record], claim: AnyClaim) -> list[Claimed]:
    until_ms = claim.now_ms + claim.lease_ms
    return [Claimed(*pg_rows.claimed(row, claim.worker, until_ms)) for row in rows]
