"""The JSON of quotes, tokens and pools. Quotes keep Jupiter's names, with ours beside them."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bestex.api.schemas import Raw, Units


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
    """A swap and its share of the amount."""

    swap_info: SwapInfo
    percent: int
    bps: int


class OfferView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One pool's quote, or why it has none."""

    venue: str
    dex: str
    label: str
    pool: str
    out_amount: Raw | None
    amount_out: Units | None
    price: str | None
    fee_amount: Raw | None
    fee_mint: str | None
    error: str | None


class QuoteView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The best route for an amount, and the offers that it was chosen from."""

    input_mint: str
    in_amount: Raw
    output_mint: str
    out_amount: Raw
    other_amount_threshold: Raw
    swap_mode: str
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
    venue: str
    quotes: Annotated[list[OfferView], Meta(description="Every pool's quote, best first, refusals last")]
    best_by_venue: Annotated[dict[str, OfferView], Meta(description="The best quote of each DEX")]
    simulated: bool
