"""What the demo says at its end."""

from collections import Counter
from collections.abc import Sequence
from statistics import median

from bestex.cli.demo.progress import Progress


def summary(board: Sequence[Progress]) -> list[str]:
    """The result in plain lines."""
    filled = [one for one in board if one.status == "confirmed"]
    rest = [one for one in board if one.status != "confirmed"]
    venues = Counter(venue for one in filled for venue in one.venues)
    waits = [one.confirmed_after_s for one in filled if one.confirmed_after_s is not None]
    statuses = Counter(one.status or "not placed" for one in board)
    lines = [", ".join(f"{count} {status}" for status, count in statuses.most_common()) + " (SIMULATED)"]
    if filled:
        fills = ", ".join(f"{venue} {count}" for venue, count in venues.most_common())
        lines.append(f"swaps by venue: {fills} (SIMULATED)")
    if waits:
        lines.append(f"POST to confirmed: {median(waits):.2f} s median, {max(waits):.2f} s longest (SIMULATED)")
    lines.extend(f"#{one.number} {one.status or 'not placed'} {_reason(one)}" for one in rest)
    lines.extend(
        f"#{one.number} {one.planned.note}: one order, {one.order_id}" for one in board if one.planned.repeated
    )
    return lines


def invitation(url: str, order_id: str) -> list[str]:
    """What to try next."""
    body = '{"type": "market", "tokenIn": "USDC", "tokenOut": "ETH", "amountIn": 1000, "userId": "user123"}'
    return [
        f"The engine is serving at {url}",
        f"  curl -s {url}/api/orders/execute -H 'content-type: application/json' -d '{body}'",
        f"  curl -s {url}/api/orders/{order_id}",
    ]


def _reason(one: Progress) -> str:
    expected = "as planned" if one.as_planned else "NOT as planned"
    note = f", {one.planned.note}" if one.planned.note else ""
    return f"({expected}{note}): {one.problem or 'no reason given'}"
