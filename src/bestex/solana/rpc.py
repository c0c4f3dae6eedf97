"""The `Cluster` port over Solana's JSON-RPC: any RPC node, and `bestex paper`.

rpc_calls.py     calls, their time-outs and refusals; over rpc_http.py
rpc_gather.py    what is asked at the same moment is asked together
rpc_answers.py   the answers as they stand on the wire
rpc_errors.py    what went wrong, in our words
rpc_accounts.py  accounts and the clock
rpc_statuses.py  what has become of transactions
rpc_landed.py    a transaction as it landed
rpc_feed.py      the WebSocket hint
"""

import asyncio
import base64
import contextlib
from collections.abc import Sequence
from typing import Any, Self, cast
from urllib.parse import urlsplit, urlunsplit

import msgspec
from solders.pubkey import Pubkey

from bestex.errors import ClusterUnavailable, Unavailable
from bestex.ports import (
    AccountsAt,
    Blockhash,
    Clock,
    Height,
    LandedTransaction,
    Simulation,
    StatusesAt,
)
from bestex.solana.rpc_accounts import Accounts
from bestex.solana.rpc_answers import (
    BlockAnswer,
    EpochInfo,
    InContext,
    LatestBlockhash,
    ListingAnswer,
    PriorityFee,
    SimulationResult,
    TransactionAnswer,
)
from bestex.solana.rpc_calls import OnCall, RpcCalls
from bestex.solana.rpc_errors import transaction_error
from bestex.solana.rpc_feed import LandingFeed
from bestex.solana.rpc_landed import landed_transaction, programs_of
from bestex.solana.rpc_statuses import Statuses
from bestex.types import Commitment, Signature, Token

_MAX_FEE_ACCOUNTS = 128
_POLL_S = 0.2
"""How often a status is asked for while no WebSocket is connected."""


class Market(msgspec.Struct, frozen=True):
    """What a paper cluster trades."""

    tokens: list[Token]
    pools: list[Pubkey]


class RpcCluster:
    """A Solana cluster behind one RPC endpoint. `RpcCluster.open` makes one, `close` ends it."""

    def __init__(self, calls: RpcCalls, feed: LandingFeed, clock: Clock) -> None:
        self._calls = calls
        self._feed = feed
        self._clock = clock
        self._simulated = False
        self._accounts = Accounts(calls)
        self._statuses = Statuses(calls, self.transaction)
        self._polling: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock: Clock,
        ws_url: str | None = None,
        timeout_s: float = 10.0,
        max_connections: int = 64,
        on_call: OnCall | None = None,
    ) -> Self:
        """Connect, and ask whether it is a paper cluster. Each call ends after `timeout_s`; `on_call` is told of it.

        `ws_url` None: where Solana's clients look, the port after an explicit one, else the same; empty: no WebSocket.
        Raises ConfigError for a malformed URL, ClusterUnavailable, RateLimited.
        """
        calls = RpcCalls(url, clock, timeout_s=timeout_s, max_connections=max_connections, on_call=on_call)
        where = web_socket_url(url) if ws_url is None else ws_url
        cluster = cls(calls, LandingFeed(where, clock, timeout_s=timeout_s), clock)
        try:
            version = await calls.call(dict[str, Any], "getVersion")
        except BaseException:
            await cluster.close()
            raise
        cluster._simulated = "bestex-paper" in version
        return cluster

    async def close(self) -> None:
        """Close all connections."""
        await self._feed.close()
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
        await self._accounts.close()
        await self._statuses.close()
        await self._calls.close()

    @property
    def simulated(self) -> bool:
        """Whether the node has said that it is one of a paper cluster."""
        return self._simulated

    async def latest_blockhash(self, commitment: Commitment) -> Blockhash:
        answer = await self._calls.call(InContext[LatestBlockhash], "getLatestBlockhash", {"commitment": commitment})
        return Blockhash(answer.value.blockhash, answer.value.last_valid_block_height, answer.context.slot)

    async def height(self, commitment: Commitment) -> Height:
        answer = await self._calls.call(EpochInfo, "getEpochInfo", {"commitment": commitment})
        return Height(answer.block_height, answer.absolute_slot)

    async def oldest_block(self) -> Height:
        """Raises ClusterUnavailable, above all where the block is deleted meanwhile."""
        slot = await self._calls.call(int, "getFirstAvailableBlock")
        if slot == 0:
            return Height(0, 0)
        options = {"transactionDetails": "none", "rewards": False, "maxSupportedTransactionVersion": 0}
        wanted = cast("type[BlockAnswer | None]", BlockAnswer | None)
        block = await self._calls.call(wanted, "getBlock", slot, options)
        if block is None:
            raise ClusterUnavailable(f"getBlock: no block in slot {slot}, the first that is available")
        # The oldest blocks do not tell their height; it is never more than their slot.
        return Height(slot if block.block_height is None else block.block_height, slot)

    async def accounts(self, addresses: Sequence[Pubkey], commitment: Commitment) -> AccountsAt:
        """Of one slot. More than 99 take several calls, made again until all answers are of the same slot."""
        return await self._accounts.of(addresses, commitment)

    async def priority_fees(self, writable: Sequence[Pubkey]) -> list[int]:
        """Raises ValueError for more than 128 accounts; a transaction locks 64 at most."""
        if len(writable) > _MAX_FEE_ACCOUNTS:
            raise ValueError(f"at most {_MAX_FEE_ACCOUNTS} accounts at once, not {len(writable)}")
        names = [str(address) for address in writable]
        answer = await self._calls.call(list[PriorityFee], "getRecentPrioritizationFees", names)
        return [block.prioritization_fee for block in answer]

    async def simulate(self, transaction: bytes) -> Simulation:
        """Runs on the node's newest block. Raises RequestRefused for bytes that are no transaction."""
        options = {
            "encoding": "base64",
            "sigVerify": False,
            "replaceRecentBlockhash": True,
            "commitment": Commitment.PROCESSED,
        }
        answer = await self._calls.call(
            InContext[SimulationResult], "simulateTransaction", _base64(transaction), options
        )
        found = answer.value
        logs = found.logs or []
        error = transaction_error(found.err, programs_of(transaction), logs) if found.err is not None else None
        return Simulation(answer.context.slot, error, found.units_consumed or 0, logs)

    async def send(self, transaction: bytes) -> None:
        """Raises RequestRefused for what the node does not take as a transaction; RateLimited at once."""
        options = {"encoding": "base64", "skipPreflight": True, "maxRetries": 0}
        await self._calls.call(str, "sendTransaction", _base64(transaction), options, patient=False)

    async def statuses(self, signatures: Sequence[Signature], *, search_history: bool) -> StatusesAt:
        """A status names the program that failed only where the node shows the transaction, from `confirmed` on.

        Raises ValueError for more than 256 signatures.
        """
        return await self._statuses.of(signatures, search_history=search_history)

    async def transaction(self, signature: Signature) -> LandedTransaction | None:
        options = {"encoding": "base64", "commitment": Commitment.CONFIRMED, "maxSupportedTransactionVersion": 0}
        wanted = cast("type[TransactionAnswer | None]", TransactionAnswer | None)
        answer = await self._calls.call(wanted, "getTransaction", signature, options)
        return landed_transaction(signature, answer) if answer is not None and answer.meta is not None else None

    async def wait_landing(self, signature: Signature, timeout_s: float) -> None:
        """By WebSocket; by asking again and again while there is none. Never raises on account of the node."""
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._feed.wait(signature)

    # --- of a paper cluster -------------------------------------------------------------------------------------------

    async def market(self) -> Market:
        """The tokens and pools of a paper cluster. Raises RequestRefused by any other."""
        answer = await self._calls.call(ListingAnswer, "bestex_getListing")
        return Market(
            tokens=[
                Token(each.symbol, Pubkey.from_string(each.mint), each.decimals, Pubkey.from_string(each.program))
                for each in answer.tokens
            ],
            pools=[Pubkey.from_string(pool) for pool in answer.pools],
        )

    async def fund_wallet(self, wallet: Pubkey) -> None:
        """Give a new wallet SOL and tokens of a paper market; one that exists is left as it is."""
        await self._calls.call(dict[str, Any], "bestex_fundWallet", str(wallet))

    async def _poll(self) -> None:
        """Ask for what no WebSocket tells, as long as somebody waits for it."""
        while True:
            await self._clock.sleep(_POLL_S)
            waited_for = self._feed.waited_for
            if not waited_for:
                return
            if not self._feed.connected:
                await asyncio.gather(*map(self._look, waited_for))

    async def _look(self, signature: Signature) -> None:
        with contextlib.suppress(Unavailable):
            if await self._statuses.seen(signature):
                self._feed.wake(signature)


def web_socket_url(url: str) -> str:
    """Where Solana's clients look for a node's WebSocket: at the port after an explicit one, else at the same place."""
    parsed = urlsplit(url)
    scheme, usual = ("wss", 443) if parsed.scheme == "https" else ("ws", 80)
    place = parsed.netloc
    if parsed.port is not None:
        place = place.removesuffix(f":{parsed.port}")
        if parsed.port != usual:
            place = f"{place}:{parsed.port + 1}"
    return urlunsplit(parsed._replace(scheme=scheme, netloc=place))


def _base64(transaction: bytes) -> str:
    return base64.b64encode(transaction).decode()
