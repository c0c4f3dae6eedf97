"""Leases, and the rate limit over all workers: both are in the database, which every worker asks."""

import asyncpg

from bestex.ports import Claim as Claimed
from bestex.ports import Claims, RateLimit
from bestex.store import pg_rows, statements
from bestex.store.operations import Claim, ClaimUnfinal, Renew

_sql = statements.load("postgres/lease")
_BEGUN, _PENDING, _UNFINAL = 0, 1, 2


class Leases:
    """Gives leases inside one transaction."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.wrote = False
        """Whether any lease was given or prolonged."""

    async def claim(self, claim: Claim) -> Claims:
        """As `Store.claim`."""
        now_ms, until_ms, rate = claim.now_ms, claim.now_ms + claim.lease_ms, claim.rate
        count, since_ms = (None, 0) if rate is None else (rate.count, now_ms - rate.window_ms)
        if rate is not None:
            await self._connection.execute(_sql["lock_starts"])
        rows = await self._connection.fetch(
            _sql["claim"], claim.worker, max(claim.limit, 0), now_ms, until_ms, count, since_ms
        )
        claims = self._claimed(rows, claim.worker, until_ms)
        begun_ms = await self._next_ms(_BEGUN, now_ms)
        pending_ms = await self._next_ms(_PENDING, now_ms)
        if rate is not None and pending_ms is not None:
            pending_ms = await self._after_reopening(pending_ms, rate, since_ms)
        next_due_ms = min((at_ms for at_ms in (begun_ms, pending_ms) if at_ms is not None), default=None)
        return Claims(claims, next_due_ms)

    async def claim_unfinal(self, claim: ClaimUnfinal) -> Claims:
        """As `Store.claim_unfinal`."""
        until_ms = claim.now_ms + claim.lease_ms
        rows = await self._connection.fetch(
            _sql["claim_unfinal"], claim.worker, max(claim.limit, 0), claim.now_ms, until_ms
        )
        return Claims(self._claimed(rows, claim.worker, until_ms), await self._next_ms(_UNFINAL, claim.now_ms))

    async def renew(self, renew: Renew) -> None:
        """As `Store.renew`. The orders must be locked."""
        await self._connection.execute(_sql["renew"], renew.worker, list(renew.order_ids), renew.lease_until_ms)
        self.wrote = True

    def _claimed(self, rows: list[asyncpg.Record], worker: str, until_ms: int) -> list[Claimed]:
        self.wrote = self.wrote or bool(rows)
        return [Claimed(*pg_rows.claimed(row, worker, until_ms)) for row in rows]

    async def _next_ms(self, lane: int, now_ms: int) -> int | None:
        found: int | None = await self._connection.fetchval(_sql["next_due"], lane, now_ms)
        return found

    async def _after_reopening(self, pending_ms: int, rate: RateLimit, since_ms: int) -> int | None:
        """When a pending order can be begun that is due at `pending_ms`; None: never."""
        if rate.count < 1:
            return None
        start_ms: int | None = await self._connection.fetchval(_sql["reopens"], rate.count, since_ms)
        return pending_ms if start_ms is None else max(pending_ms, start_ms + rate.window_ms)
