"""The JSON of quotes, tokens and pools. Quotes keep Jupiter's names, with ours beside them."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bestex.api.schemas import Raw, SwapModeName, Units
from bestex.types import Routing


class TokenView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A token that can be traded."""

    symbol: str
    mint: str
    decimals: int
    program: str


class TokenList(msgspec.Struct, frozen=True):
    """All tokens that the engine knows."""

    tokens: list[TokenView]


class PoolSide(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One of a pool's two tokens."""

    mint: str
    symbol: str | None
    reserve_raw: Raw
    reserve: Units | None


class PoolView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A pool that is traded."""

    address: str
    venue: str
    dex: str
    label: str
    tokens: list[PoolSide]
    fee_pct: Annotated[str, Meta(description="Present trading fee in percent")]
    context_slot: int


class RefusedPool(msgspec.Struct, frozen=True):
    """A pool that is not traded, and why."""

    address: str
    reason: str


class PoolList(msgspec.Struct, frozen=True):
    """The pools that the router chooses from."""

    pools: list[PoolView]
    refused: list[RefusedPool]
    simulated: bool


class SwapInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One swap of a route, in Jupiter's words."""

    amm_key: str
    label: str
    input_mint: str
    output_mint: str
    in_amount: Raw
    out_amount: Raw
    fee_amount: Raw
    fee_mint: str


class RouteLeg(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A swap of the route. All legs are in one transaction, in this order: all of them happen, or none."""

    swap_info: SwapInfo
    percent: Annotated[int, Meta(description="Share of its hop; the shares of a hop add up to 100")]
    bps: Annotated[int, Meta(description="The same in basis points: 10000 a hop")]
    hop: Annotated[int, Meta(description="From 0; a hop begins with what the one before it has brought")]
    other_amount_threshold: Annotated[str, Meta(description="This leg's least out, or most in (ExactOut); base units")]
    venue: str
    dex: str
    token_in: str | None
    token_out: str | None
    amount_in: Units | None
    amount_out: Units | None


class OfferView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One pool's quote for the whole amount, or why it has none."""

    venue: str
    dex: str
    label: str
    pool: str
    in_amount: Raw | None
    out_amount: Raw | None
    amount_in: Units | None
    amount_out: Units | None
    price: str | None
    fee_amount: Raw | None
    fee_mint: str | None
    error: str | None


class AlternativeView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A route that was not taken, and why."""

    kind: Annotated[str, Meta(description="`single`, `split` or `path`")]
    mints: list[str]
    tokens: Annotated[list[str | None], Meta(description="The mints' symbols")]
    pools: list[str]
    in_amount: Raw | None
    out_amount: Raw | None
    amount_in: Units | None
    amount_out: Units | None
    reason: str


class QuoteView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The best route for an amount, how far it is from the best possible, and what it was chosen from."""

    input_mint: str
    in_amount: Raw
    output_mint: str
    out_amount: Raw
    other_amount_threshold: Annotated[str, Meta(description="Least out, or most in (ExactOut); base units")]
    swap_mode: SwapModeName
    slippage_bps: int
    price_impact_pct: Annotated[str, Meta(description="Percent; 1 = 1 %")]
    route_plan: list[RouteLeg]
    context_slot: int
    time_taken: Annotated[float, Meta(description="Seconds")]
    token_in: str
    token_out: str
    amount_in: Units
    amount_out: Units
    price: Annotated[str, Meta(description="Output per input token after fees, token units")]
    price_unit: str
    routing: Routing
    route_kind: Annotated[str, Meta(description="`single`, `split` or `path`")]
    venue: Annotated[str, Meta(description="Of the leg that moves most of the first hop")]
    bound: Annotated[
        str | None, Meta(description="No route of boundClass pays more, or asks less (ExactOut), before networkCost")
    ]
    bound_class: str
    optimality_gap: Annotated[str | None, Meta(description="How much better any such route could be; base units")]
    optimality_gap_bps: Annotated[str | None, Meta(description="The same, rounded up")]
    network_cost: Annotated[
        str, Meta(description="Base and priority fee in base units of the output, or of the input (ExactOut)")
    ]
    best_single: OfferView | None
    gain_over_single_bps: Annotated[str | None, Meta(description="How much better than one pool alone, before costs")]
    quotes: Annotated[list[OfferView], Meta(description="Every pool's quote, best first, refusals last")]
    best_by_venue: Annotated[dict[str, OfferView], Meta(description="The best quote of each DEX")]
    alternatives: Annotated[list[AlternativeView], Meta(description="Routes that were not taken, best first")]
    simulated: bool
