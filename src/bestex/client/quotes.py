"""A quote as the server answers it, typed: the route, its legs, and what it was chosen from.

Units are those of `bestex.client.results`.
"""

from bestex.client.results import Answer


class Offer(Answer, frozen=True, kw_only=True):
    """One pool's quote for the whole amount, or why it has none."""

    venue: str
    dex: str
    label: str
    pool: str
    in_amount: str | None = None
    out_amount: str | None = None
    amount_in: str | None = None
    amount_out: str | None = None
    price: str | None = None
    fee_amount: str | None = None
    fee_mint: str | None = None
    error: str | None = None


class SwapInfo(Answer, frozen=True, kw_only=True):
    """One swap of a route, in Jupiter's words."""

    amm_key: str
    """The pool's address."""
    label: str
    input_mint: str
    output_mint: str
    in_amount: str
    out_amount: str
    fee_amount: str
    fee_mint: str


class RouteLeg(Answer, frozen=True, kw_only=True):
    """A swap of the route; legs come in the order in which they run, all or none."""

    swap_info: SwapInfo
    percent: int
    bps: int
    """Share of its hop."""
    hop: int
    """From 0."""
    other_amount_threshold: str
    venue: str
    dex: str
    token_in: str | None = None
    token_out: str | None = None
    amount_in: str | None = None
    amount_out: str | None = None


class Alternative(Answer, frozen=True, kw_only=True):
    """A route that was not taken, and why."""

    kind: str
    """`single`, `split` or `path`."""
    mints: list[str]
    tokens: list[str | None]
    """The mints' symbols."""
    pools: list[str]
    in_amount: str | None = None
    out_amount: str | None = None
    amount_in: str | None = None
    amount_out: str | None = None
    reason: str


class Quote(Answer, frozen=True, kw_only=True):
    """The best route for an amount, and what it was chosen from. Jupiter's names where it has one."""

    input_mint: str
    in_amount: str
    output_mint: str
    out_amount: str
    other_amount_threshold: str
    """The least that an order would accept; `ExactOut`: the most that it would pay."""
    swap_mode: str
    slippage_bps: int
    price_impact_pct: str
    route_plan: list[RouteLeg]
    context_slot: int
    time_taken: float
    """Seconds."""
    token_in: str
    token_out: str
    amount_in: str
    amount_out: str
    price: str
    price_unit: str
    routing: str
    route_kind: str
    """`single`, `split` or `path`."""
    venue: str
    bound: str | None = None
    """No route of `bound_class` pays more (`ExactOut`: asks less) before `network_cost`."""
    bound_class: str
    optimality_gap: str | None = None
    optimality_gap_bps: str | None = None
    network_cost: str
    """Base units of the output (`ExactOut`: of the input)."""
    best_single: Offer | None = None
    gain_over_single_bps: str | None = None
    quotes: list[Offer]
    """Every pool's, best first, refusals last."""
    best_by_venue: dict[str, Offer]
    alternatives: list[Alternative]
    simulated: bool
