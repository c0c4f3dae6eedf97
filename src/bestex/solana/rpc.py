"""The `Cluster` port over Solana's JSON-RPC: any RPC node, and `bestex paper`.

rpc_http.py      calls, their time-outs and refusals
rpc_answers.py   the answers as they stand on the wire
rpc_errors.py    what went wrong, in our words
rpc_accounts.py  accounts and the clock
rpc_landed.py    a transaction as it landed
rpc_feed.py      the WebSocket hint
"""

import asyncio
import base64
from collections.abc import Sequence
from typing import Any, Self, cast

import msgspec
from httpx import URL
from solders.pubkey import Pubkey

from bestex.errors import ClusterUnavailable, Unavailable
from bestex.ports import (
    AccountsAt,
    Blockhash,
    Clock,
    Height,
    LandedTransaction,
    SignatureStatus,
    Simulation,
    StatusesAt,
    TransactionError,
)
from bestex.solana.rpc_accounts import CLOCK_SYSVAR, accounts_and_clock
from bestex.solana.rpc_answers import (
    AccountInfo,
    EpochInfo,
    InContext,
    LatestBlockhash,
    ListingAnswer,
    PriorityFee,
    SimulationResult,
    Status,
    TransactionAnswer,
)
from bestex.solana.rpc_errors import transaction_error
from bestex.solana.rpc_feed import LandingFeed
from bestex.solana.rpc_http import RpcHttp
from bestex.solana.rpc_landed import landed_transaction, programs_of
from bestex.types import Commitment, Signature, Slot, Token

_ACCOUNTS_PER_CALL = 99
"""A node gives 100 at once; one of them is the clock."""
_SAME_SLOT_TRIES = 8
_MAX_STATUSES = 256
_MAX_FEE_ACCOUNTS = 128
_MAX_EXPLAINED = 1_000
_POLL_S = 0.2
"""How often a status is asked for while no WebSocket is connected."""


class Market(msgspec.Struct, frozen=True):
    """What a paper cluster trades."""

    tokens: list[Token]
    pools: list[Pubkey]


class RpcCluster:
    """A Solana cluster behind one RPC endpoint. `RpcCluster.open` makes one, `close` ends it."""

    def __init__(self, http: RpcHttp, feed: LandingFeed | None, clock: Clock) -> None:
        self._http = http
        self._feed = feed
        self._clock = clock
        self._simulated = False
        self._explained: dict[tuple[Signature, Slot], TransactionError] = {}

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock: Clock,
        ws_url: str | None = None,
        timeout_s: float = 10.0,
        max_connections: int = 64,
    ) -> Self:
        """Connect, and ask whether it is a paper cluster. Each call ends after `timeout_s`.

        `ws_url` None: where Solana's clients look, the port after an explicit one, else the same; empty: no WebSocket.
        Raises ConfigError for a malformed URL, ClusterUnavailable, RateLimited.
        """
        http = RpcHttp(url, clock, timeout_s=timeout_s, max_connections=max_connections)
        where = web_socket_url(url) if ws_url is None else ws_url
        cluster = cls(http, LandingFeed(where, clock, timeout_s=timeout_s) if where else None, clock)
        try:
            version = await http.call(dict[str, Any], "getVersion")
        except BaseException:
            await cluster.close()
            raise
        cluster._simulated = "bestex-paper" in version
        return cluster

    async def close(self) -> None:
        """Close all connections."""
        if self._feed is not None:
            await self._feed.close()
        await self._http.close()

    @property
    def simulated(self) -> bool:
        """Whether the node has said that it is one of a paper cluster."""
        return self._simulated

    async def latest_blockhash(self, commitment: Commitment) -> Blockhash:
        answer = await self._http.call(InContext[LatestBlockhash], "getLatestBlockhash", {"commitment": commitment})
        return Blockhash(answer.value.blockhash, answer.value.last_valid_block_height, answer.context.slot)

    async def height(self, commitment: Commitment) -> Height:
        answer = await self._http.call(EpochInfo, "getEpochInfo", {"commitment": commitment})
        return Height(answer.block_height, answer.absolute_slot)

    async def accounts(self, addresses: Sequence[Pubkey], commitment: Commitment) -> AccountsAt:
        """Of one slot. More than 99 take several calls, made again until all answers are of the same slot."""
        chunks = [
            addresses[start : start + _ACCOUNTS_PER_CALL]
            for start in range(0, max(1, len(addresses)), _ACCOUNTS_PER_CALL)
        ]
        for _ in range(_SAME_SLOT_TRIES):
            answers = await asyncio.gather(*(self._accounts(chunk, commitment) for chunk in chunks))
            if len({answer.slot for answer in answers}) == 1:
                found = [account for answer in answers for account in answer.accounts]
                return AccountsAt(answers[0].slot, answers[0].clock, found)
        raise ClusterUnavailable(f"{len(addresses)} accounts could not be read in one slot")

    async def priority_fees(self, writable: Sequence[Pubkey]) -> list[int]:
        """Raises ValueError for more than 128 accounts; a transaction locks 64 at most."""
        if len(writable) > _MAX_FEE_ACCOUNTS:
            raise ValueError(f"at most {_MAX_FEE_ACCOUNTS} accounts at once, not {len(writable)}")
        names = [str(address) for address in writable]
        answer = await self._http.call(list[PriorityFee], "getRecentPrioritizationFees", names)
        return [block.prioritization_fee for block in answer]

    async def simulate(self, transaction: bytes) -> Simulation:
        """Runs on the node's newest block. Raises RequestRefused for bytes that are no transaction."""
        options = {
            "encoding": "base64",
            "sigVerify": False,
            "replaceRecentBlockhash": True,
            "commitment": Commitment.PROCESSED,
        }
        answer = await self._http.call(
            InContext[SimulationResult], "simulateTransaction", _base64(transaction), options
        )
        found = answer.value
        logs = found.logs or []
        error = transaction_error(found.err, programs_of(transaction), logs) if found.err is not None else None
        return Simulation(answer.context.slot, error, found.units_consumed or 0, logs)

    async def send(self, transaction: bytes) -> None:
        """Raises RequestRefused for what the node does not take as a transaction."""
        options = {"encoding": "base64", "skipPreflight": True, "maxRetries": 0}
        await self._http.call(str, "sendTransaction", _base64(transaction), options)

    async def statuses(self, signatures: Sequence[Signature], *, search_history: bool) -> StatusesAt:
        """A status names the program that failed only where the node shows the transaction, from `confirmed` on.

        Raises ValueError for more than 256 signatures.
        """
        if len(signatures) > _MAX_STATUSES:
            raise ValueError(f"at most {_MAX_STATUSES} signatures at once, not {len(signatures)}")
        options = {"searchTransactionHistory": search_history}
        answer = await self._http.call(
            InContext[list[Status | None]], "getSignatureStatuses", list(signatures), options
        )
        if len(answer.value) != len(signatures):
            raise ClusterUnavailable(
                f"getSignatureStatuses: {len(answer.value)} statuses of {len(signatures)} transactions"
            )
        statuses = [_status(status) if status else None for status in answer.value]
        explained = await asyncio.gather(*map(self._explain, signatures, statuses))
        return StatusesAt(answer.context.slot, list(explained))

    async def transaction(self, signature: Signature) -> LandedTransaction | None:
        options = {"encoding": "json", "commitment": Commitment.CONFIRMED, "maxSupportedTransactionVersion": 0}
        wanted = cast("type[TransactionAnswer | None]", TransactionAnswer | None)
        answer = await self._http.call(wanted, "getTransaction", signature, options)
        return landed_transaction(signature, answer) if answer is not None and answer.meta is not None else None

    async def wait_landing(self, signature: Signature, timeout_s: float) -> None:
        """By WebSocket; by asking again and again while there is none. Never raises on account of the node."""
        waits = [asyncio.ensure_future(self._poll(signature))]
        if self._feed is not None:
            waits.append(asyncio.ensure_future(self._feed.wait(signature)))
        try:
            await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    # --- of a paper cluster -------------------------------------------------------------------------------------------

    async def market(self) -> Market:
        """The tokens and pools of a paper cluster. Raises RequestRefused by any other."""
        answer = await self._http.call(ListingAnswer, "bestex_getListing")
        return Market(
            tokens=[
                Token(each.symbol, Pubkey.from_string(each.mint), each.decimals, Pubkey.from_string(each.program))
                for each in answer.tokens
            ],
            pools=[Pubkey.from_string(pool) for pool in answer.pools],
        )

    async def fund_wallet(self, wallet: Pubkey) -> None:
        """Give a new wallet SOL and tokens of a paper market; one that exists is left as it is."""
        await self._http.call(dict[str, Any], "bestex_fundWallet", str(wallet))

    async def _accounts(self, addresses: Sequence[Pubkey], commitment: Commitment) -> AccountsAt:
        names = [str(address) for address in (*addresses, CLOCK_SYSVAR)]
        answer = await self._http.call(
            InContext[list[AccountInfo | None]],
            "getMultipleAccounts",
            names,
            {"encoding": "base64", "commitment": commitment},
        )
        return accounts_and_clock(answer, len(addresses))

    async def _explain(self, signature: Signature, status: SignatureStatus | None) -> SignatureStatus | None:
        """A status with all that can be known of its error."""
        if status is None or status.error is None or status.commitment is Commitment.PROCESSED:
            return status
        error = self._explained.get((signature, status.slot))
        if error is None:
            try:
                landed = await self.transaction(signature)
            except Unavailable:
                # That it failed counts more than why: a node without details must not hide it.
                return status
            if landed is None or landed.error is None or landed.slot != status.slot:
                return status
            error = self._explained[signature, status.slot] = landed.error
            if len(self._explained) > _MAX_EXPLAINED:
                del self._explained[next(iter(self._explained))]
        return SignatureStatus(status.slot, status.commitment, error)

    async def _poll(self, signature: Signature) -> None:
        options = {"searchTransactionHistory": False}
        while True:
            await self._clock.sleep(_POLL_S)
            if self._feed is not None and self._feed.connected:
                continue
            try:
                answer = await self._http.call(
                    InContext[list[Status | None]], "getSignatureStatuses", [signature], options
                )
            except Unavailable:
                continue
            if any(answer.value):
                return


def web_socket_url(url: str) -> str:
    """Where Solana's clients look for a node's WebSocket: at the port after an explicit one, else at the same place."""
    parsed = URL(url)
    scheme = "wss" if parsed.scheme == "https" else "ws"
    port = parsed.port + 1 if parsed.port is not None else None
    return str(parsed.copy_with(scheme=scheme, port=port))


def _base64(transaction: bytes) -> str:
    return base64.b64encode(transaction).decode()


def _status(status: Status) -> SignatureStatus:
    """A node that is too old to name the commitment tells by the confirmations."""
    name = status.confirmation_status or ("finalized" if status.confirmations is None else "processed")
    try:
        commitment = Commitment(name)
    except ValueError:
        raise ClusterUnavailable(f"getSignatureStatuses: unknown commitment {name}") from None
    return SignatureStatus(status.slot, commitment, transaction_error(status.err))
