"""The paper cluster as the engine meets it: what an RPC node answers, and how long that takes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

from solders.pubkey import Pubkey

from bestex.errors import ConfigError
from bestex.paper import market
from bestex.paper.envelope import Envelope, open_envelope
from bestex.paper.ledger import Found, Ledger
from bestex.paper.network import LatencyRange, NetworkProfile
from bestex.paper.running import OneThread, Runner
from bestex.paper.traders import Traders
from bestex.paper.validator import Validator
from bestex.paper.waiting import Waiting
from bestex.ports import (
    AccountsAt,
    Blockhash,
    Clock,
    Entropy,
    Height,
    LandedTransaction,
    SignatureStatus,
    Simulation,
    StatusesAt,
)
from bestex.types import Commitment, Signature, Token

T = TypeVar("T")

_MAX_STATUSES = 256


class PaperCluster:
    """A cluster of one validator and one node, in this process; everything it says is simulated.

    `PaperCluster.open` makes one, `run` lets its time pass, `close` ends it. A signature that does not verify, an
    unknown blockhash or an empty fee payer make a transaction vanish after `send`, as they do on Solana.
    """

    def __init__(self, profile: NetworkProfile, clock: Clock, entropy: Entropy, ledger: Ledger, runner: Runner) -> None:
        self._profile = profile
        self._clock = clock
        self._entropy = entropy
        self._ledger = ledger
        self._runner = runner
        self._waiting = Waiting(clock)
        self._listing = market.Listing(seed=0, symbols=[], listed=[])
        self.validator = Validator(
            profile=profile,
            clock=clock,
            entropy=entropy,
            ledger=ledger,
            runner=runner,
            on_landed=self._waiting.wake,
        )

    @classmethod
    async def open(
        cls,
        *,
        profile: NetworkProfile,
        clock: Clock,
        entropy: Entropy,
        path: Path | None,
        seed: int,
        wallet: Pubkey,
        pairs: frozenset[tuple[str, str]] | None = None,
        traders: bool = True,
        runner: Runner | None = None,
        vfs: str | None = None,
    ) -> Self:
        """Go on with the ledger at `path`, or begin a new one with the market of `seed`; None keeps it in memory.

        A new market has all pairs, or those of `pairs`. `wallet` is funded unless the ledger knows it. The ledger's
        file work runs on a thread of its own, or where `runner` says. `vfs` names SQLite's file system. Raises
        ConfigError when the file is in use by another process, is not a paper ledger, or was made with another seed.
        """
        cluster = cls(profile, clock, entropy, Ledger(path, vfs=vfs), runner or OneThread("paper-ledger"))
        try:
            await cluster._load(seed, wallet, pairs, traders=traders)
        except BaseException:
            await cluster.close()
            raise
        return cluster

    async def _load(
        self, seed: int, wallet: Pubkey, pairs: frozenset[tuple[str, str]] | None, *, traders: bool
    ) -> None:
        validator, profile = self.validator, self._profile
        contents = await self._runner.run(
            lambda: self._ledger.open(
                recent_slots=profile.status_cache_slots, recent_blocks=profile.blockhash_max_age_blocks
            )
        )
        if contents is None:
            genesis = market.genesis(seed, wallet, pairs)
            self._listing = genesis.listing
            await validator.begin(market.pack_listing(genesis.listing), genesis.accounts)
        else:
            self._listing = market.unpack_listing(contents.listing)
            if self._listing.seed != seed:
                raise ConfigError(
                    f"the paper ledger was made with paper_seed {self._listing.seed}, not {seed}; "
                    "use that seed or another data_dir"
                )
            validator.resume(contents)
            if validator.chain.state.get(wallet) is None:
                await validator.amend(market.wallet_accounts(self._listing.tokens, wallet))
        if traders:
            validator.traders = Traders(self._listing, validator.chain.state, slot_s=profile.slot_s)

    async def run(self) -> None:
        """Let time pass until canceled. Raises ClusterUnavailable when the ledger fails."""
        await self.validator.run()

    async def close(self) -> None:
        """Close the ledger. Cancel `run` first."""
        self._waiting.close()
        await self._runner.run(self._ledger.close)
        self._runner.close()

    # --- the market ---------------------------------------------------------------------------------------------------

    @property
    def listing(self) -> market.Listing:
        """What the paper market consists of."""
        return self._listing

    @property
    def tokens(self) -> list[Token]:
        """The tokens of the paper market."""
        return self._listing.tokens

    @property
    def pools(self) -> list[Pubkey]:
        """The pools of the paper market."""
        return self._listing.pools

    # --- the port -----------------------------------------------------------------------------------------------------

    @property
    def simulated(self) -> bool:
        return True

    @property
    def delays(self) -> bool:
        """Whether answers take their time, as over a network."""
        return self._profile.delays

    async def latest_blockhash(self, commitment: Commitment) -> Blockhash:
        return await self._answer(self._profile.latest_blockhash_s, lambda: self.validator.chain.blockhash(commitment))

    async def height(self, commitment: Commitment) -> Height:
        return await self._answer(self._profile.height_s, lambda: self.validator.chain.height(commitment))

    async def oldest_block(self) -> Height:
        """The ledger keeps every transaction."""
        return await self._answer(self._profile.height_s, lambda: Height(0, 0))

    async def accounts(self, addresses: Sequence[Pubkey], commitment: Commitment) -> AccountsAt:
        """Exactly the accounts of the newest block at this commitment."""

        def read() -> AccountsAt:
            chain = self.validator.chain
            commit = chain.reached(commitment)
            return AccountsAt(commit.slot, commit.clock, chain.accounts(addresses, commitment))

        return await self._answer(self._profile.accounts_s, read)

    async def priority_fees(self, writable: Sequence[Pubkey]) -> list[int]:
        return await self._answer(self._profile.priority_fees_s, lambda: self.validator.fees.recent(writable))

    async def simulate(self, transaction: bytes) -> Simulation:
        """Raises MalformedTransaction for bytes that are no transaction, ClusterUnavailable."""
        return await self._answer(self._profile.simulate_s, lambda: self.validator.simulate(open_envelope(transaction)))

    async def simulate_opened(self, envelope: Envelope) -> Simulation:
        """`simulate`, for who has read the transaction already. Raises ClusterUnavailable."""
        return await self._answer(self._profile.simulate_s, lambda: self.validator.simulate(envelope))

    async def send(self, transaction: bytes) -> None:
        """Raises MalformedTransaction for bytes that are no transaction, ClusterUnavailable."""
        await self._answer(self._profile.send_s, lambda: self.validator.submit(open_envelope(transaction)))

    async def send_opened(self, envelope: Envelope) -> None:
        """`send`, for who has read the transaction already. Raises ClusterUnavailable."""
        await self._answer(self._profile.send_s, lambda: self.validator.submit(envelope))

    async def statuses(self, signatures: Sequence[Signature], *, search_history: bool) -> StatusesAt:
        """Raises ValueError for more than 256 signatures, ClusterUnavailable."""
        if len(signatures) > _MAX_STATUSES:
            raise ValueError(f"at most {_MAX_STATUSES} signatures at once, not {len(signatures)}")
        recent = await self._answer(self._profile.statuses_s, lambda: self._recent_statuses(signatures))
        if not search_history or None not in recent.statuses:
            return recent
        old = [status or await self._old_status(name) for name, status in zip(signatures, recent.statuses, strict=True)]
        # What landed during the search is in neither answer: look once more before saying that it is unknown.
        again = self._recent_statuses(signatures)
        return StatusesAt(recent.slot, [new or found for new, found in zip(again.statuses, old, strict=True)])

    async def transaction(self, signature: Signature) -> LandedTransaction | None:
        found = await self.find(signature)
        return found.record.landed(found.slot) if found else None

    async def find(self, signature: Signature, commitment: Commitment = Commitment.CONFIRMED) -> Found | None:
        """All that the ledger keeps of a transaction. Raises ClusterUnavailable."""
        low, high = self._profile.transaction_s
        await self._delay((low / 2, high / 2))
        found = await self.validator.find(signature, commitment)
        await self._delay((low / 2, high / 2))
        return found

    async def wait_landing(self, signature: Signature, timeout_s: float) -> None:
        if self.validator.chain.landing(signature) is None:
            await self._waiting.wait(signature, timeout_s)
        await self._delay(self._profile.notification_s)

    async def history(self) -> list[LandedTransaction]:
        """Every transaction that has landed, whatever its commitment, oldest first: for those who check the books."""
        return [found.record.landed(found.slot) for found in await self.validator.history()]

    def _recent_statuses(self, signatures: Sequence[Signature]) -> StatusesAt:
        chain = self.validator.chain
        landings = [chain.landing(signature) for signature in signatures]
        return StatusesAt(chain.head.slot, [chain.status(landing) if landing else None for landing in landings])

    async def _old_status(self, signature: Signature) -> SignatureStatus | None:
        found = await self.validator.find(signature, Commitment.FINALIZED)
        return SignatureStatus(found.slot, Commitment.FINALIZED, found.record.error) if found else None

    async def _answer(self, latency: LatencyRange, read: Callable[[], T]) -> T:
        """What the node says, read when the request reaches it; the answer takes as long to come back."""
        low, high = latency
        if not high:
            self.validator.check()
            return read()
        await self._delay((low / 2, high / 2))
        self.validator.check()
        answer = read()
        await self._delay((low / 2, high / 2))
        return answer

    async def _delay(self, latency: LatencyRange) -> None:
        low, high = latency
        if high > 0:
            await self._clock.sleep(self._entropy.uniform(low, high))
