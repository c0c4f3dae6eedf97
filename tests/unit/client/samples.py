"""Answers and events as the engine gives them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from bestex.orders.events import (
    Accepted,
    Built,
    Confirmed,
    Event,
    Failed,
    Finalized,
    PoolQuote,
    Routed,
    Submitted,
    encode_event,
)
from bestex.orders.order import OrderError
from bestex.orders.status import Status
from bestex.types import OrderId

ORDER_ID = OrderId("0199aa00-0000-7000-8000-000000000001")
TX_HASH = "5xHkQ1fJ8mZ2tYbV7cN4pR6sWdXeG3uAaKqLjTyPo9iM"
START = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)

ORDER: dict[str, Any] = {
    "id": ORDER_ID,
    "orderId": ORDER_ID,
    "type": "market",
    "status": "pending",
    "finality": None,
    "userId": "alice",
    "clientOrderId": None,
    "tokenIn": "USDC",
    "tokenOut": "ETH",
    "inputMint": "MintIn",
    "outputMint": "MintOut",
    "swapMode": "ExactIn",
    "routing": "auto",
    "amountIn": "1000",
    "inAmount": "1000000000",
    "amountOut": None,
    "outAmount": None,
    "maxAmountIn": None,
    "maxInAmount": None,
    "executedPrice": None,
    "priceUnit": "ETH per USDC",
    "txHash": None,
    "venue": None,
    "slot": None,
    "feeLamports": None,
    "slippageBps": 50,
    "priority": 0,
    "maxRetries": 2,
    "retries": 0,
    "attemptCount": 0,
    "retryAt": None,
    "cancelRequested": False,
    "error": None,
    "simulated": True,
    "createdAt": "2026-01-31T12:00:00.000Z",
    "updatedAt": "2026-01-31T12:00:00.000Z",
    "links": {"self": f"/api/orders/{ORDER_ID}", "events": f"/api/orders/{ORDER_ID}/ws"},
}
TOKENS = {
    "tokens": [
        {"symbol": "USDC", "mint": "MintIn", "decimals": 6, "program": "Token"},
        {"symbol": "ETH", "mint": "MintOut", "decimals": 8, "program": "Token"},
    ]
}
OFFERS = [
    {
        "venue": "meteora_dlmm",
        "dex": "Meteora",
        "label": "Meteora DLMM",
        "pool": "PoolM",
        "inAmount": "1000000000",
        "outAmount": "29340000",
        "amountIn": "1000",
        "amountOut": "0.2934",
        "price": "0.0002934",
        "feeAmount": "300000",
        "feeMint": "MintIn",
        "error": None,
    },
    {
        "venue": "raydium_cpmm",
        "dex": "Raydium",
        "label": "Raydium CPMM",
        "pool": "PoolR",
        "inAmount": "1000000000",
        "outAmount": "29310660",
        "amountIn": "1000",
        "amountOut": "0.2931066",
        "price": "0.0002931066",
        "feeAmount": "250000",
        "feeMint": "MintIn",
        "error": None,
    },
    {
        "venue": "raydium_cpmm",
        "dex": "Raydium",
        "label": "Raydium CPMM",
        "pool": "PoolX",
        "inAmount": None,
        "outAmount": None,
        "amountIn": None,
        "amountOut": None,
        "price": None,
        "feeAmount": None,
        "feeMint": None,
        "error": "swaps are closed",
    },
]
LEG = {
    "swapInfo": {
        "ammKey": "PoolM",
        "label": "Meteora DLMM",
        "inputMint": "MintIn",
        "outputMint": "MintOut",
        "inAmount": "1000000000",
        "outAmount": "29340000",
        "feeAmount": "300000",
        "feeMint": "MintIn",
    },
    "percent": 100,
    "bps": 10_000,
    "hop": 0,
    "otherAmountThreshold": "29193300",
    "venue": "meteora_dlmm",
    "dex": "Meteora",
    "tokenIn": "USDC",
    "tokenOut": "ETH",
    "amountIn": "1000",
    "amountOut": "0.2934",
}
QUOTE: dict[str, Any] = {
    "inputMint": "MintIn",
    "inAmount": "1000000000",
    "outputMint": "MintOut",
    "outAmount": "29340000",
    "otherAmountThreshold": "29193300",
    "swapMode": "ExactIn",
    "slippageBps": 50,
    "priceImpactPct": "0.12",
    "routePlan": [LEG],
    "contextSlot": 7,
    "timeTaken": 0.001,
    "tokenIn": "USDC",
    "tokenOut": "ETH",
    "amountIn": "1000",
    "amountOut": "0.2934",
    "price": "0.0002934",
    "priceUnit": "ETH per USDC",
    "routing": "auto",
    "routeKind": "single",
    "venue": "meteora_dlmm",
    "bound": "29340030",
    "boundClass": "any split over the pools of this pair",
    "optimalityGap": "30",
    "optimalityGapBps": "0.0103",
    "networkCost": "12",
    "bestSingle": OFFERS[0],
    "gainOverSingleBps": "0.00",
    "quotes": OFFERS,
    "bestByVenue": {"Meteora": OFFERS[0], "Raydium": OFFERS[1]},
    "alternatives": [
        {
            "kind": "split",
            "mints": ["MintIn", "MintOut"],
            "tokens": ["USDC", "ETH"],
            "pools": ["PoolM", "PoolR"],
            "inAmount": "1000000000",
            "outAmount": "29340005",
            "amountIn": "1000",
            "amountOut": "0.29340005",
            "reason": "nets less after costs",
        }
    ],
    "simulated": True,
}
POOLS = {
    "pools": [
        {
            "address": "PoolR",
            "venue": "raydium_cpmm",
            "dex": "Raydium",
            "label": "Raydium CPMM",
            "tokens": [
                {"mint": "MintIn", "symbol": "USDC", "reserveRaw": "5000000", "reserve": "5"},
                {"mint": "A" * 43, "symbol": None, "reserveRaw": "77", "reserve": None},
            ],
            "feePct": "0.25",
            "contextSlot": 7,
        }
    ],
    "refused": [{"address": "PoolZ", "reason": "Token-2022 transfer hook"}],
    "simulated": True,
}
QUEUE = {
    "waiting": 1,
    "delayed": 0,
    "inWork": 2,
    "oldestWaitingAt": None,
    "startedInLastMinute": 3,
    "byStatus": {"pending": 1},
    "pending": 1,
    "routing": 0,
    "building": 0,
    "submitted": 2,
    "confirmed": 4,
    "failed": 0,
    "canceled": 0,
    "expired": 0,
    "limits": {"concurrency": 10, "ratePerMinute": 100, "maxAttempts": 3},
    "simulated": True,
}
PROBLEM = {
    "type": "/api/problems#NO_ROUTE",
    "title": "No pool can trade this",
    "status": 422,
    "detail": "no pool trades USDC against BONK",
    "instance": "/api/quote",
    "code": "NO_ROUTE",
    "retryable": False,
    "moneyMoved": "no",
}


def encode(document: Any) -> bytes:
    """A document as JSON."""
    return msgspec.json.encode(document)


def detail(**changes: Any) -> dict[str, Any]:
    """An order with its history."""
    attempt = {
        "number": 1,
        "state": "landed",
        "signature": TX_HASH,
        "txHash": TX_HASH,
        "blockhash": "Hash",
        "lastValidBlockHeight": 160,
        "inAmount": "1000000000",
        "maxInAmount": "1000000000",
        "quotedOutAmount": "29340000",
        "minOutAmount": "29193300",
        "venue": "meteora_dlmm",
        "pool": "PoolM",
        "swaps": ["meteora_dlmm:PoolM"],
        "feeLamports": 5000,
        "slot": 11,
        "error": None,
        "createdAt": "2026-01-31T12:00:00.000Z",
    }
    return ORDER | {"events": [msgspec.to_builtins(event) for event in life()], "attempts": [attempt]} | changes


def life() -> list[Event]:
    """All events of an order that is filled."""
    return [
        Accepted(
            **_header(1, Status.PENDING),
            type="market",
            user_id="alice",
            token_in="USDC",
            token_out="ETH",
            amount_in="1000",
            in_amount="1000000000",
            slippage_bps=50,
            priority=0,
            routing="auto",
        ),
        Routed(
            **_header(2, Status.ROUTING),
            attempt=1,
            context_slot=7,
            quotes=[
                PoolQuote(venue="meteora_dlmm", dex="Meteora", pool="PoolM", out_amount="29340000", price="0.0002934"),
                PoolQuote(venue="raydium_cpmm", dex="Raydium", pool="PoolX", error="swaps are closed"),
                PoolQuote(venue="raydium_cpmm", dex="Raydium", pool="PoolR", out_amount="29310660", price="0.00029311"),
            ],
            venue="meteora_dlmm",
            pool="PoolM",
            in_amount="1000000000",
            out_amount="29340000",
            other_amount_threshold="29193300",
            price="0.0002934",
            price_impact_pct="0.12",
        ),
        Built(
            **_header(3, Status.BUILDING),
            attempt=1,
            size_bytes=612,
            account_locks=20,
            instructions=["swap"],
            blockhash="Hash",
            last_valid_block_height=160,
            compute_unit_limit=100_000,
            compute_unit_price_micro_lamports=1_000,
            max_fee_lamports=5_100,
        ),
        Submitted(
            **_header(4, Status.SUBMITTED),
            attempt=1,
            tx_hash=TX_HASH,
            compute_unit_limit=100_000,
            fee_lamports=5_100,
            min_out_amount="29193300",
        ),
        Confirmed(
            **_header(5, Status.CONFIRMED),
            attempt=1,
            tx_hash=TX_HASH,
            slot=11,
            venue="meteora_dlmm",
            pool="PoolM",
            amount_in="1000",
            amount_out="0.2933",
            in_amount="1000000000",
            out_amount="29330000",
            executed_price="0.0002933",
            price_unit="ETH per USDC",
            slippage_bps_realized="-3.41",
            fee_lamports=5_100,
            simulated=True,
        ),
        Finalized(**_header(6, Status.CONFIRMED), tx_hash=TX_HASH, slot=43),
    ]


def failed(seq: int = 2) -> Event:
    """The end of an order that is not filled."""
    error = OrderError("SLIPPAGE_EXCEEDED", "the price moved", retryable=True, money_moved="no")
    return Failed(**_header(seq, Status.FAILED), error=error)


def payloads() -> list[bytes]:
    """`life` as it goes over the wire."""
    return [encode_event(event) for event in life()]


def _header(seq: int, status: Status) -> dict[str, Any]:
    return {"order_id": ORDER_ID, "seq": seq, "status": status, "at": START + timedelta(milliseconds=250 * seq)}
