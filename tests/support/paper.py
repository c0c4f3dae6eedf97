"""A paper cluster under virtual time, and transactions for it, built by hand."""

import struct
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey

from bestex.paper.assets import ASSETS
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import INSTANT, NetworkProfile
from bestex.paper.running import InPlace
from bestex.types import Account, Commitment, Mint, Signature, SwapMode
from bestex.venues import PROGRAMS
from bestex.venues.pool import Pool, SwapAccounts, gather
from bestex.venues.token import (
    ASSOCIATED_TOKEN_PROGRAM,
    TOKEN_PROGRAM,
    associated_token_address,
    decode_token_account,
)
from tests.support.clock import VirtualClock
from tests.support.entropy import SeededEntropy

SYSTEM_PROGRAM = Pubkey.from_string("11111111111111111111111111111111")
COMPUTE_BUDGET = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
MEMO_PROGRAM = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
TOKEN_ACCOUNT_RENT = 2_039_280

WALLET = Keypair.from_seed(b"the engine's wallet, in paper...")
STRANGER = Keypair.from_seed(b"somebody else with nothing to do")

SOL, USDC, USDT, ETH, JUP = (ASSETS[symbol].token.mint for symbol in ("SOL", "USDC", "USDT", "ETH", "JUP"))

QUIET = msgspec.structs.replace(INSTANT, commits_within_slot=False, max_transactions=1_024)
"""Blocks only when the test ticks; everything is final at once."""
FINAL_AFTER_8 = msgspec.structs.replace(QUIET, confirmed_after_slots=1, finalized_after_slots=8)


async def paper(
    profile: NetworkProfile = QUIET,
    *,
    path: Path | None = None,
    seed: int = 1,
    traders: bool = False,
    clock: VirtualClock | None = None,
    entropy_seed: int = 0,
) -> PaperCluster:
    """A cluster whose ledger works in place and whose blocks are made by `validator.tick`."""
    return await PaperCluster.open(
        profile=profile,
        clock=clock or VirtualClock(),
        entropy=SeededEntropy(entropy_seed),
        path=path,
        seed=seed,
        wallet=WALLET.pubkey(),
        traders=traders,
        runner=InPlace(),
    )


def ata(mint: Mint, owner: Pubkey | None = None) -> Pubkey:
    """The wallet's account of a mint."""
    return associated_token_address(owner or WALLET.pubkey(), mint, TOKEN_PROGRAM)


def head(cluster: PaperCluster, address: Pubkey) -> Account | None:
    """An account as the newest block left it."""
    return cluster.validator.chain.state.get(address)


def balance(cluster: PaperCluster, address: Pubkey) -> int:
    """Base units in a token account; 0 where there is none."""
    account = head(cluster, address)
    return decode_token_account(account).amount if account else 0


def lamports(cluster: PaperCluster, address: Pubkey) -> int:
    account = head(cluster, address)
    return account.lamports if account else 0


def pool_at(cluster: PaperCluster, address: Pubkey) -> Pool:
    """A pool decoded from the newest accounts, as the engine's book would read it."""
    account = head(cluster, address)
    assert account is not None
    venue = PROGRAMS[account.owner]
    return venue.decode(address, gather(venue, address, partial(head, cluster)))


def pools_of(cluster: PaperCluster, one: Mint, other: Mint, venue: str | None = None) -> list[Pool]:
    """All pools of a pair."""
    pools = [pool_at(cluster, address) for address in cluster.pools]
    return [pool for pool in pools if set(pool.mints) == {one, other} and venue in (None, pool.venue)]


# --- instructions -----------------------------------------------------------------------------------------------------


def unit_limit(units: int) -> Instruction:
    return Instruction(COMPUTE_BUDGET, struct.pack("<BI", 2, units), [])


def unit_price(micro_lamports: int) -> Instruction:
    return Instruction(COMPUTE_BUDGET, struct.pack("<BQ", 3, micro_lamports), [])


def transfer_sol(source: Pubkey, destination: Pubkey, amount: int) -> Instruction:
    metas = [AccountMeta(source, True, True), AccountMeta(destination, False, True)]
    return Instruction(SYSTEM_PROGRAM, struct.pack("<IQ", 2, amount), metas)


def create_account(source: Pubkey, address: Pubkey, amount: int, space: int, owner: Pubkey) -> Instruction:
    metas = [AccountMeta(source, True, True), AccountMeta(address, True, True)]
    return Instruction(SYSTEM_PROGRAM, struct.pack("<IQQ", 0, amount, space) + bytes(owner), metas)


def create_with_seed(
    base: Pubkey, address: Pubkey, seed: str, amount: int, space: int = 165, owner: Pubkey = TOKEN_PROGRAM
) -> Instruction:
    data = struct.pack("<I", 3) + bytes(base) + struct.pack("<Q", len(seed)) + seed.encode()
    metas = [AccountMeta(base, True, True), AccountMeta(address, False, True)]
    return Instruction(SYSTEM_PROGRAM, data + struct.pack("<QQ", amount, space) + bytes(owner), metas)


def initialize_account(address: Pubkey, mint: Mint, owner: Pubkey) -> Instruction:
    metas = [AccountMeta(address, False, True), AccountMeta(mint, False, False)]
    return Instruction(TOKEN_PROGRAM, bytes([18]) + bytes(owner), metas)


def transfer(source: Pubkey, destination: Pubkey, owner: Pubkey, amount: int) -> Instruction:
    metas = [
        AccountMeta(source, False, True),
        AccountMeta(destination, False, True),
        AccountMeta(owner, True, False),
    ]
    return Instruction(TOKEN_PROGRAM, struct.pack("<BQ", 3, amount), metas)


def transfer_checked(
    source: Pubkey, mint: Mint, destination: Pubkey, owner: Pubkey, amount: int, decimals: int
) -> Instruction:
    metas = [
        AccountMeta(source, False, True),
        AccountMeta(mint, False, False),
        AccountMeta(destination, False, True),
        AccountMeta(owner, True, False),
    ]
    return Instruction(TOKEN_PROGRAM, struct.pack("<BQB", 12, amount, decimals), metas)


def sync_native(address: Pubkey) -> Instruction:
    return Instruction(TOKEN_PROGRAM, bytes([17]), [AccountMeta(address, False, True)])


def close_account(address: Pubkey, destination: Pubkey, owner: Pubkey) -> Instruction:
    metas = [
        AccountMeta(address, False, True),
        AccountMeta(destination, False, True),
        AccountMeta(owner, True, False),
    ]
    return Instruction(TOKEN_PROGRAM, bytes([9]), metas)


def create_ata(payer: Pubkey, owner: Pubkey, mint: Mint, *, idempotent: bool = True) -> Instruction:
    metas = [
        AccountMeta(payer, True, True),
        AccountMeta(ata(mint, owner), False, True),
        AccountMeta(owner, False, False),
        AccountMeta(mint, False, False),
        AccountMeta(SYSTEM_PROGRAM, False, False),
        AccountMeta(TOKEN_PROGRAM, False, False),
    ]
    return Instruction(ASSOCIATED_TOKEN_PROGRAM, bytes([int(idempotent)]), metas)


def memo(text: bytes) -> Instruction:
    return Instruction(MEMO_PROGRAM, text, [])


def swap(
    pool: Pool,
    in_mint: Mint,
    amount: int,
    threshold: int = 1,
    swap_mode: SwapMode = SwapMode.EXACT_IN,
    user: SwapAccounts | None = None,
) -> Instruction:
    """A swap from the wallet's accounts."""
    (out_mint,) = set(pool.mints) - {in_mint}
    user = user or SwapAccounts(WALLET.pubkey(), ata(in_mint), ata(out_mint))
    return pool.swap_instruction(user, in_mint, amount, threshold, swap_mode)


# --- transactions -----------------------------------------------------------------------------------------------------


def signed(
    blockhash: str, instructions: Sequence[Instruction], *signers: Keypair, payer: Keypair = WALLET
) -> tuple[Signature, bytes]:
    """A v0 transaction in wire format, and its signature."""
    message = MessageV0.try_compile(payer.pubkey(), list(instructions), [], Hash.from_string(blockhash))
    data = to_bytes_versioned(message)
    keys = {key.pubkey(): key for key in (payer, *signers)}
    required = message.account_keys[: message.header.num_required_signatures]
    signatures = [keys[key].sign_message(data) for key in required]
    raw = bytes([len(signatures)]) + b"".join(bytes(signature) for signature in signatures) + data
    return Signature(str(signatures[0])), raw


class Client:
    """Sends transactions one by one and lets them land."""

    def __init__(self, cluster: PaperCluster) -> None:
        self.cluster = cluster

    async def send(
        self, *instructions: Instruction, signers: Sequence[Keypair] = (), payer: Keypair = WALLET
    ) -> Signature:
        """Sign with the newest blockhash that no fork can take away, and send."""
        blockhash = await self.cluster.latest_blockhash(Commitment.FINALIZED)
        signature, raw = signed(blockhash.blockhash, instructions, *signers, payer=payer)
        await self.cluster.send(raw)
        return signature
