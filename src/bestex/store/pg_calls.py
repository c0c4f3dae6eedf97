"""What a batch does, as calls of the schema's functions in one statement: all of it takes place, or none."""

from typing import Any

import asyncpg

from bestex.store import pg_rows
from bestex.store.operations import Claim, ClaimUnfinal, Renew
from bestex.store.plan import Plan


def is_unexpected(error: Exception) -> bool:
    """Whether something was not stored as the batch took it to be: nothing of it is written."""
    return isinstance(error, asyncpg.UniqueViolationError) or getattr(error, "sqlstate", None) == "BX001"


class Calls:
    """The calls of one batch. Each function notes the batch's number if it has written anything."""

    def __init__(self, writer: object, number: int) -> None:
        """`writer`: this store's row in `writers`."""
        self._batch = (writer, number)
        self._calls: list[str] = []
        self._arguments: list[object] = []

    def __bool__(self) -> bool:
        return bool(self._calls)

    def write(self, plan: Plan) -> None:
        """What the plan allows."""
        over, live = pg_rows.attempt_steps(plan.attempt_steps.values())
        self._add(
            "write_batch",
            pg_rows.keys(plan.new_keys),
            pg_rows.new_orders(plan.new.values()),
            pg_rows.steps(plan.steps.values()),
            pg_rows.events(plan.events),
            over,
            live,
            pg_rows.new_attempts(plan.new_attempts.values()),
        )

    def claim(self, claim: Claim) -> int:
        """The place of the answer."""
        count, window_ms = (None, 0) if claim.rate is None else (claim.rate.count, claim.rate.window_ms)
        return self._add("claim_orders", *_of_claim(claim), count, window_ms)

    def claim_unfinal(self, claim: ClaimUnfinal) -> int:
        """The place of the answer."""
        return self._add("claim_unfinal_orders", *_of_claim(claim))

    def renew(self, renew: Renew) -> None:
        """As `Store.renew`."""
        self._add("renew_leases", renew.worker, list(renew.order_ids), renew.lease_until_ms)

    def beat(self) -> None:
        """Write the number of the batch, whatever else there is."""
        self._add("beat")

    async def make(self, connection: asyncpg.Connection) -> asyncpg.Record:
        """Make all calls; their answers."""
        (answers,) = await connection.fetch("SELECT " + ", ".join(self._calls), *self._arguments)
        return answers

    def _add(self, function: str, *arguments: Any) -> int:
        first = len(self._arguments) + 1
        self._arguments += (*self._batch, *arguments)
        places = ", ".join([f"${place}" for place in range(first, len(self._arguments) + 1)])
        self._calls.append(f"{function}({places})")
        return len(self._calls) - 1


def _of_claim(claim: Claim | ClaimUnfinal) -> tuple[str, int, int, int]:
    return claim.worker, max(claim.limit, 0), claim.now_ms, claim.now_ms + claim.lease_ms
