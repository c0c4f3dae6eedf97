"""Whatever is sent to the paper cluster, in whatever order blocks, forks and restarts come: the books balance."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bestex.paper.cluster import PaperCluster
from bestex.paper.envelope import MalformedTransaction, open_envelope
from bestex.paper.records import pack_writes, unpack_writes
from bestex.solana.transaction import MAX_BYTES
from bestex.types import Account, Commitment, Signature, SwapMode
from bestex.venues.pool import Pool, SwapAccounts
from bestex.venues.token import NATIVE_MINT, TOKEN_PROGRAM, decode_token_account, mint_account, token_account
from tests.support import paper
from tests.support.native import ours, real
from tests.support.paper import (
    ETH,
    FINAL_AFTER_8,
    JUP,
    SOL,
    STRANGER,
    SYSTEM_PROGRAM,
    TOKEN_ACCOUNT_RENT,
    USDC,
    USDT,
    WALLET,
    ata,
    pools_of,
    signed,
)

ME, THEM = WALLET.pubkey(), STRANGER.pubkey()
TEMPORARY = Pubkey.create_with_seed(ME, "t", TOKEN_PROGRAM)
PAIRS = [(USDC, ETH), (USDC, USDT), (SOL, USDC), (JUP, USDC)]

slow = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


# --- what is sent -----------------------------------------------------------------------------------------------------

Builder = Callable[[PaperCluster], list[Instruction]]


def _swap(pair: tuple[Pubkey, Pubkey], number: int, amount: int, threshold: int, mode: SwapMode, back: bool) -> Builder:
    def build(cluster: PaperCluster) -> list[Instruction]:
        pools = pools_of(cluster, *pair)
        pool = pools[number % len(pools)]
        in_mint, out_mint = pair[::-1] if back else pair
        before: list[Instruction] = []
        after: list[Instruction] = []
        accounts = {mint: ata(mint) for mint in pair}
        if SOL in pair:
            accounts[SOL] = TEMPORARY
            wrapped = min(amount, 2**63) if in_mint == SOL else 0
            before = [
                paper.create_with_seed(ME, TEMPORARY, "t", TOKEN_ACCOUNT_RENT + wrapped),
                paper.initialize_account(TEMPORARY, SOL, ME),
            ]
            after = [paper.close_account(TEMPORARY, ME, ME)]
        elif not back:
            before = [paper.create_ata(ME, ME, out_mint)]
        user = SwapAccounts(ME, accounts[in_mint], accounts[out_mint])
        return [*before, paper.swap(pool, in_mint, amount, threshold, mode, user), *after]

    return build


def _fixed(*instructions: Instruction) -> Builder:
    return lambda _: list(instructions)


amounts = st.one_of(st.integers(0, 10**10), st.sampled_from([0, 1, 10**15, 2**64 - 1]))
thresholds = st.sampled_from([0, 1, 10**6, 10**9, 2**64 - 1])
swaps = st.builds(
    _swap,
    st.sampled_from(PAIRS),
    st.integers(0, 9),
    amounts,
    thresholds,
    st.sampled_from(SwapMode),
    st.booleans(),
)
transfers = st.builds(
    lambda amount, mint, back: _fixed(
        paper.create_ata(ME, THEM, mint),
        paper.transfer(ata(mint), ata(mint, THEM), ME, amount)
        if not back
        else paper.transfer(ata(mint, THEM), ata(mint), ME, amount),
    ),
    amounts,
    st.sampled_from([USDC, ETH, USDT]),
    st.booleans(),
)
gifts = st.builds(lambda amount: _fixed(paper.transfer_sol(ME, THEM, amount)), amounts)
wraps = st.builds(
    lambda amount, close: _fixed(
        paper.create_with_seed(ME, TEMPORARY, "t", TOKEN_ACCOUNT_RENT + amount),
        paper.initialize_account(TEMPORARY, NATIVE_MINT, ME),
        *([paper.close_account(TEMPORARY, ME, ME)] if close else []),
    ),
    st.integers(0, 10**12),
    st.booleans(),
)
closes = st.just(_fixed(paper.close_account(TEMPORARY, ME, ME)))


def _then(first: Builder, second: Builder) -> Builder:
    return lambda cluster: [*first(cluster), *second(cluster)]


single = st.one_of(swaps, swaps, transfers, gifts, wraps, closes)
transactions = st.one_of(single, single, st.builds(_then, single, single))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), transactions),
        st.tuples(st.just("send"), transactions),
        st.tuples(st.just("again"), st.integers(0, 5)),
        st.tuples(st.just("tick"), st.integers(1, 3)),
        st.tuples(st.just("fork"), st.integers(1, 10)),
        st.tuples(st.just("requeue"), st.integers(1, 10)),
        st.tuples(st.just("restart"), st.none()),
    ),
    min_size=5,
    max_size=40,
)


def _tokens(accounts: Mapping[Pubkey, Account]) -> Counter[Pubkey]:
    """Base units by mint; wrapped SOL is lamports and counts there."""
    held: Counter[Pubkey] = Counter()
    for account in accounts.values():
        if account.owner == TOKEN_PROGRAM and len(account.data) == 165:
            balance = decode_token_account(account)
            if balance.mint == NATIVE_MINT:
                assert account.lamports == TOKEN_ACCOUNT_RENT + balance.amount
            else:
                held[balance.mint] += balance.amount
    return held


def _lamports(accounts: Mapping[Pubkey, Account]) -> int:
    return sum(account.lamports for account in accounts.values())


class World:
    """A cluster that is restarted and forked, and what was sent to it."""

    def __init__(self, path: Path, traders: bool) -> None:
        self.path, self.traders = path, traders
        self.cluster: PaperCluster
        self.sent: list[tuple[Signature, bytes]] = []
        self.serial = 0

    async def open(self) -> None:
        self.cluster = await paper.paper(FINAL_AFTER_8, path=self.path, traders=self.traders)

    async def do(self, action: str, argument: object) -> None:
        validator = self.cluster.validator
        if action == "send":
            assert callable(argument)
            blockhash = await self.cluster.latest_blockhash(Commitment.FINALIZED)
            self.serial += 1
            memo = paper.memo(str(self.serial).encode())
            limit = paper.unit_limit(1_400_000)
            signature, raw = signed(blockhash.blockhash, [limit, memo, *argument(self.cluster)])
            if len(raw) <= MAX_BYTES:
                self.sent.append((signature, raw))
                await self.cluster.send(raw)
            else:
                # Two swaps with all their accounts can be more than a packet holds.
                with pytest.raises(MalformedTransaction):
                    await self.cluster.send(raw)
        elif action == "again" and self.sent:
            assert isinstance(argument, int)
            await self.cluster.send(self.sent[-1 - argument % len(self.sent)][1])
        elif action == "tick":
            assert isinstance(argument, int)
            for _ in range(argument):
                await validator.tick()
        elif action in ("fork", "requeue"):
            assert isinstance(argument, int)
            await validator.fork(argument, keep_pending=action == "requeue")
        elif action == "restart":
            before = dict(validator.chain.state.accounts)
            views = [await self.cluster.height(level) for level in Commitment]
            await self.cluster.close()
            await self.open()
            assert self.cluster.validator.chain.state.accounts == before
            assert [await self.cluster.height(level) for level in Commitment] == views


@slow
@given(steps=steps, traders=st.booleans())
def test_the_books_balance(steps: Sequence[tuple[str, object]], traders: bool) -> None:
    asyncio.run(_balance(steps, traders))


async def _balance(steps: Sequence[tuple[str, object]], traders: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory) / "paper.db", traders)
        await world.open()
        genesis = dict(world.cluster.validator.chain.state.accounts)
        for action, argument in [*steps, ("tick", 3)]:
            await world.do(action, argument)
            await _check(world, genesis)
        await world.cluster.close()


async def _check(world: World, genesis: Mapping[Pubkey, Account]) -> None:
    """Nothing is made or lost but fees; each transaction is in the chain at most once, and did what it says."""
    accounts = world.cluster.validator.chain.state.accounts
    history = await world.cluster.history()
    assert _tokens(accounts) == _tokens(genesis)
    assert _lamports(accounts) + sum(landed.fee_lamports for landed in history) == _lamports(genesis)
    assert all(account.lamports > 0 for account in accounts.values())
    signatures = [landed.signature for landed in history]
    assert len(set(signatures)) == len(signatures)
    assert set(signatures) <= {signature for signature, _ in world.sent}
    for landed in history:
        if landed.error is not None:
            assert landed.lamport_changes == {ME: -landed.fee_lamports}
            assert landed.token_changes == []
        else:
            moved: Counter[Pubkey] = Counter()
            for change in landed.token_changes:
                moved[change.mint] += change.after - change.before
            assert not any(amount for mint, amount in moved.items() if mint != NATIVE_MINT)
            assert sum(landed.lamport_changes.values()) == -landed.fee_lamports
    spent = sum(landed.lamport_changes.get(ME, 0) for landed in history)
    assert accounts[ME].lamports == genesis[ME].lamports + spent
    received = sum(
        change.after - change.before
        for landed in history
        for change in landed.token_changes
        if change.account == ata(ETH)
    )
    assert decode_token_account(accounts[ata(ETH)]).amount == decode_token_account(genesis[ata(ETH)]).amount + received


# --- one leg undoes the other -----------------------------------------------------------------------------------------


@slow
@given(first=single, amount=st.integers(2**62, 2**64 - 1))
def test_a_failing_second_leg_leaves_nothing(first: Builder, amount: int) -> None:
    async def check() -> None:
        cluster = await paper.paper()
        before = dict(cluster.validator.chain.state.accounts)
        client = paper.Client(cluster)
        await client.send(*first(cluster), paper.transfer_sol(ME, THEM, amount))
        await cluster.validator.tick()
        (landed,) = await cluster.history()
        assert landed.error is not None
        payer = before[ME]
        before[ME] = Account(payer.owner, payer.lamports - landed.fee_lamports, payer.data)
        assert cluster.validator.chain.state.accounts == before

    asyncio.run(check())


# --- time runs out ----------------------------------------------------------------------------------------------------


@slow
@given(waited=st.integers(140, 160), sends=st.lists(st.integers(0, 30), max_size=10))
def test_an_expired_transaction_never_lands(waited: int, sends: list[int]) -> None:
    async def check() -> None:
        cluster = await paper.paper()
        blockhash = await cluster.latest_blockhash(Commitment.CONFIRMED)
        signature, raw = signed(blockhash.blockhash, [paper.memo(b"x")])
        for _ in range(waited):
            await cluster.validator.tick()
        for pause in sends:
            await cluster.send(raw)
            for _ in range(pause):
                await cluster.validator.tick()
        status = (await cluster.statuses([signature], search_history=True)).statuses[0]
        in_time = waited + 1 < blockhash.last_valid_block_height
        if status is not None:
            assert status.slot <= blockhash.last_valid_block_height
        assert (status is not None) <= in_time

    asyncio.run(check())


# --- bytes ------------------------------------------------------------------------------------------------------------

_, SIGNED = signed("EkSnNWid2cvwEVnVx9aBqawnmiCNiDgp3gUdkDPTKN1N", [paper.transfer_sol(ME, THEM, 5), paper.memo(b"x")])


@settings(max_examples=500, deadline=None)
@given(at=st.integers(0, len(SIGNED) - 1), byte=st.integers(0, 255), cut=st.integers(0, 40))
def test_changed_bytes_are_never_taken(at: int, byte: int, cut: int) -> None:
    changed = bytearray(SIGNED[: len(SIGNED) - cut])
    if at < len(changed):
        changed[at] = byte
    if changed == SIGNED:
        return
    try:
        envelope = open_envelope(bytes(changed))
    except MalformedTransaction:
        return
    assert not envelope.is_signed()


@settings(max_examples=300, deadline=None)
@given(raw=st.binary(max_size=1_300))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        open_envelope(raw)
    except MalformedTransaction:
        return


@given(
    before=st.dictionaries(st.integers(0, 3), st.binary(max_size=900), max_size=4),
    after=st.dictionaries(st.integers(0, 3), st.one_of(st.none(), st.binary(max_size=900)), max_size=4),
    same_size=st.booleans(),
)
def test_changes_come_back(before: dict[int, bytes], after: dict[int, bytes | None], same_size: bool) -> None:
    def named(number: int) -> Pubkey:
        return Pubkey(bytes([number]) * 32)

    old = {named(number): Account(ME, len(data), data) for number, data in before.items()}
    writes: dict[Pubkey, Account | None] = {}
    for number, data in after.items():
        if data is None:
            writes[named(number)] = None
            continue
        size = len(before[number]) if same_size and number in before else len(data)
        writes[named(number)] = Account(THEM, len(data) + 1, data[:size].ljust(size, b"\1"))
    assert unpack_writes(pack_writes(writes, old), old) == writes


# --- the real programs ------------------------------------------------------------------------------------------------

WORLD = {
    ME: Account(SYSTEM_PROGRAM, 10_000_000_000, b""),
    THEM: Account(SYSTEM_PROGRAM, 5_000_000_000, b""),
    USDC: mint_account(6, 10**15),
    NATIVE_MINT: mint_account(9, 0),
    ata(USDC): token_account(USDC, ME, 1_000_000),
    ata(USDC, THEM): token_account(USDC, THEM, 2_000_000),
}
some = st.integers(0, 3_000_000)
owners = st.sampled_from([ME, THEM])
native = st.one_of(
    st.builds(lambda a, b, n: paper.transfer_sol(a, b, n * 1_000), owners, owners, some),
    st.builds(
        lambda a, b, owner, n: paper.transfer(ata(USDC, a), ata(USDC, b), owner, n), owners, owners, owners, some
    ),
    st.builds(
        lambda a, b, n, d: paper.transfer_checked(ata(USDC, a), USDC, ata(USDC, b), a, n, d),
        owners,
        owners,
        some,
        st.sampled_from([6, 6, 6, 9]),
    ),
    st.builds(lambda a, m: paper.create_ata(ME, a, m), owners, st.sampled_from([USDC, NATIVE_MINT])),
    st.builds(lambda a, n: paper.transfer_sol(ME, ata(NATIVE_MINT, a), n), owners, some),
    st.builds(lambda a: paper.sync_native(ata(NATIVE_MINT, a)), owners),
    st.builds(
        lambda a, m, b, c: paper.close_account(ata(m, a), b, c),
        owners,
        st.sampled_from([USDC, NATIVE_MINT]),
        owners,
        owners,
    ),
    st.builds(lambda n: paper.create_with_seed(ME, TEMPORARY, "t", TOKEN_ACCOUNT_RENT + n), some),
    st.just(paper.initialize_account(TEMPORARY, NATIVE_MINT, ME)),
    st.builds(lambda a: paper.close_account(TEMPORARY, a, ME), owners),
)


@settings(max_examples=150, deadline=None)
@given(instructions=st.lists(native, min_size=1, max_size=6))
def test_native_programs_do_what_solanas_own_do(instructions: list[Instruction]) -> None:
    needed = {meta.pubkey for step in instructions for meta in step.accounts if meta.is_signer}
    signers: list[Keypair] = [STRANGER] if THEM in needed else []
    assert ours(WORLD, instructions, *signers) == real(WORLD, instructions, *signers)


def test_pools_of_every_pair_that_is_traded_here() -> None:
    async def check() -> None:
        cluster = await paper.paper()
        pools: list[Pool] = [pool for pair in PAIRS for pool in pools_of(cluster, *pair)]
        assert len(pools) >= 16

    asyncio.run(check())
