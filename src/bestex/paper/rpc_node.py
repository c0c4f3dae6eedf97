"""What stands behind the methods: the cluster, and who gives money to newcomers."""

import asyncio
import struct
from hashlib import sha256

from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bestex.paper import market
from bestex.paper.cluster import PaperCluster
from bestex.paper.envelope import Envelope
from bestex.ports import Clock
from bestex.solana.instructions import SYSTEM_PROGRAM, compute_unit_limit, memo
from bestex.solana.transaction import draft
from bestex.types import LAMPORTS_PER_SOL, Account, Commitment, Signature

_FAUCET_LAMPORTS = 1_000_000_000 * LAMPORTS_PER_SOL
_AIRDROP_UNITS = 50_000
_TRANSFER = struct.Struct("<IQ")
_TRANSFER_TAG = 2


class Node:
    """One RPC node of a paper cluster."""

    def __init__(self, cluster: PaperCluster, clock: Clock) -> None:
        self.cluster = cluster
        self.clock = clock
        listing = cluster.listing
        self.genesis_hash = str(Hash(sha256(market.pack_listing(listing)).digest()))
        # Worth nothing outside this market, and the same at every start, as its ledger remembers it.
        self._faucet = Keypair.from_seed(sha256(f"bestex paper faucet {listing.seed}".encode()).digest())
        self._funding = asyncio.Lock()
        self._airdrops = 0

    async def send(self, envelope: Envelope) -> Signature:
        """Pass a transaction on. Raises ClusterUnavailable."""
        await self.cluster.send_opened(envelope)
        return envelope.signature

    async def airdrop(self, address: Pubkey, lamports: int, blockhash: str) -> bytes:
        """A signed transfer from the faucet, not sent yet. Raises ClusterUnavailable."""
        faucet = self._faucet.pubkey()
        await self._endow(faucet, {faucet: Account(SYSTEM_PROGRAM, _FAUCET_LAMPORTS, b"")})
        self._airdrops += 1
        metas = [
            AccountMeta(faucet, is_signer=True, is_writable=True),
            AccountMeta(address, is_signer=False, is_writable=True),
        ]
        instructions = [
            compute_unit_limit(_AIRDROP_UNITS),
            # Two equal gifts under one blockhash would be one transaction.
            memo(f"airdrop {self._airdrops} at {self.clock.now_ms()}"),
            Instruction(SYSTEM_PROGRAM, _TRANSFER.pack(_TRANSFER_TAG, lamports), metas),
        ]
        _, raw = draft(faucet, instructions, blockhash).sign(lambda message: bytes(self._faucet.sign_message(message)))
        return raw

    async def fund_wallet(self, wallet: Pubkey) -> bool:
        """Give a new wallet SOL and tokens, as the engine's own has; False if it exists. Raises ClusterUnavailable."""
        return await self._endow(wallet, market.wallet_accounts(self.cluster.tokens, wallet))

    async def newest_blockhash(self) -> str:
        """The newest whole block's. Raises ClusterUnavailable."""
        return (await self.cluster.latest_blockhash(Commitment.CONFIRMED)).blockhash

    async def _endow(self, owner: Pubkey, accounts: dict[Pubkey, Account]) -> bool:
        async with self._funding:
            validator = self.cluster.validator
            validator.check()
            if validator.chain.state.get(owner) is not None:
                return False
            await validator.amend(accounts)
            return True
