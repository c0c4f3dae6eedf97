"""Swap instructions on the paper cluster: the pool's exact quote moves, or the program's own error says why not."""

import struct

import pytest
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from bestex.paper.cluster import PaperCluster
from bestex.ports import LandedTransaction
from bestex.types import Commitment, SwapMode
from bestex.venues import PROGRAMS
from bestex.venues.meteora_dlmm import SWAP_ACCOUNTS
from bestex.venues.pool import Pool, SwapAccounts, Venue
from bestex.venues.token import TOKEN_PROGRAM, token_account
from tests.support import paper
from tests.support.paper import (
    ETH,
    JUP,
    SOL,
    STRANGER,
    TOKEN_ACCOUNT_RENT,
    USDC,
    WALLET,
    Client,
    ata,
    balance,
    lamports,
    pool_at,
    pools_of,
)

ME, THEM = WALLET.pubkey(), STRANGER.pubkey()
VENUES = list(Venue)
IN, OUT = SwapMode.EXACT_IN, SwapMode.EXACT_OUT
ONE_ETH = 10**8
THOUSAND_USDC = 1_000_000_000


async def landed(cluster: PaperCluster, *instructions: Instruction) -> LandedTransaction:
    """Send, let one block pass, and read what became of it."""
    signature = await Client(cluster).send(*instructions)
    await cluster.validator.tick()
    transaction = await cluster.transaction(signature)
    assert transaction is not None
    return transaction


async def market(venue: Venue, one: Pubkey = USDC, other: Pubkey = ETH) -> tuple[PaperCluster, Pool]:
    cluster = await paper.paper()
    return cluster, pools_of(cluster, one, other, venue)[0]


def without(instruction: Instruction, *addresses: Pubkey) -> Instruction:
    metas = [meta for meta in instruction.accounts if meta.pubkey not in addresses]
    return Instruction(instruction.program_id, bytes(instruction.data), metas)


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("in_mint", [USDC, ETH])
@pytest.mark.parametrize("mode", [IN, OUT])
async def test_moves_exactly_what_was_quoted(venue: Venue, in_mint: Pubkey, mode: SwapMode) -> None:
    cluster, pool = await market(venue)
    (out_mint,) = {USDC, ETH} - {in_mint}
    amount = THOUSAND_USDC if (in_mint == USDC) == (mode is IN) else ONE_ETH
    quote = pool.quote(in_mint, amount, mode, cluster.validator.chain.head.clock)
    threshold = quote.out_amount if mode is IN else quote.in_amount
    before = {mint: balance(cluster, ata(mint)) for mint in (USDC, ETH)}

    transaction = await landed(cluster, paper.swap(pool, in_mint, amount, threshold, mode))

    assert transaction.error is None, transaction.error
    assert balance(cluster, ata(in_mint)) == before[in_mint] - quote.in_amount
    assert balance(cluster, ata(out_mint)) == before[out_mint] + quote.out_amount
    after, _ = pool.apply(in_mint, amount, mode, cluster.validator.chain.head.clock)
    assert pool_at(cluster, pool.address).reserves == after.reserves
    mine = {change.mint: change.after - change.before for change in transaction.token_changes if change.owner == ME}
    assert mine == {in_mint: -quote.in_amount, out_mint: quote.out_amount}
    theirs = {change.mint: change.after - change.before for change in transaction.token_changes if change.owner != ME}
    assert theirs == {in_mint: quote.in_amount, out_mint: -quote.out_amount}


@pytest.mark.parametrize("venue", VENUES)
async def test_many_swaps_in_a_row_stay_exact(venue: Venue) -> None:
    """Past the point where the pool is decoded again, in both directions, several in one block."""
    cluster, pool = await market(venue)
    client = Client(cluster)
    for number in range(60):
        in_mint, amount = (USDC, THOUSAND_USDC + number) if number % 3 else (ETH, ONE_ETH + number)
        await client.send(paper.swap(pool, in_mint, amount), paper.memo(bytes([number])))
        if number % 7 == 6:
            await cluster.validator.tick()
    await cluster.validator.tick()
    clock = cluster.validator.chain.head.clock
    for transaction in await cluster.history():
        assert transaction.error is None
    expected = pool
    for number in range(60):
        in_mint, amount = (USDC, THOUSAND_USDC + number) if number % 3 else (ETH, ONE_ETH + number)
        expected, _ = expected.apply(in_mint, amount, IN, clock)
    assert pool_at(cluster, pool.address).reserves == expected.reserves


@pytest.mark.parametrize(
    ("venue", "mode", "code"),
    [
        (Venue.RAYDIUM_AMM_V4, IN, 30),
        (Venue.RAYDIUM_AMM_V4, OUT, 30),
        (Venue.RAYDIUM_CLMM, IN, 6022),
        (Venue.RAYDIUM_CLMM, OUT, 6023),
        (Venue.METEORA_DAMM_V2, IN, 6002),
        (Venue.METEORA_DAMM_V2, OUT, 6002),
        (Venue.RAYDIUM_CPMM, IN, 6005),
        (Venue.RAYDIUM_CPMM, OUT, 6005),
        (Venue.METEORA_DLMM, IN, 6003),
        (Venue.METEORA_DLMM, OUT, 6104),
    ],
)
async def test_one_unit_beyond_the_quote_is_slippage(venue: Venue, mode: SwapMode, code: int) -> None:
    cluster, pool = await market(venue)
    amount = THOUSAND_USDC if mode is IN else ONE_ETH
    quote = pool.quote(USDC, amount, mode, cluster.validator.chain.head.clock)
    threshold = quote.out_amount + 1 if mode is IN else quote.in_amount - 1
    before = balance(cluster, ata(USDC)), balance(cluster, ata(ETH)), pool.reserves

    transaction = await landed(cluster, paper.memo(b"first"), paper.swap(pool, USDC, amount, threshold, mode))

    error = transaction.error
    assert error is not None
    program = {module.VENUE: module for module in PROGRAMS.values()}[venue]
    assert (error.name, error.instruction_index, error.custom_code) == ("InstructionError", 1, code)
    assert error.program_id == str(program.PROGRAM_ID)
    assert transaction.logs[-1] == f"Program {program.PROGRAM_ID} failed: custom program error: {code:#x}"
    name = program.SLIPPAGE_EXCEEDED[mode].name
    native = venue is Venue.RAYDIUM_AMM_V4
    assert (f"Error: {name}" if native else f"Error Code: {name}. Error Number: {code}.") in transaction.logs[-3]
    assert (balance(cluster, ata(USDC)), balance(cluster, ata(ETH)), pool_at(cluster, pool.address).reserves) == before


@pytest.mark.parametrize("venue", VENUES)
async def test_sol_is_wrapped_and_unwrapped_in_one_transaction(venue: Venue) -> None:
    """The shape of the engine's own transactions, paying SOL."""
    cluster, pool = await market(venue, SOL, USDC)
    amount = 3 * 10**9
    temporary = Pubkey.create_with_seed(ME, "order", TOKEN_PROGRAM)
    user = SwapAccounts(ME, temporary, ata(USDC))
    quote = pool.quote(SOL, amount, IN, cluster.validator.chain.head.clock)
    my_lamports, my_usdc = lamports(cluster, ME), balance(cluster, ata(USDC))

    transaction = await landed(
        cluster,
        paper.unit_limit(200_000),
        paper.unit_price(1_000),
        paper.memo(b"bestex:order:1"),
        paper.create_with_seed(ME, temporary, "order", TOKEN_ACCOUNT_RENT + amount),
        paper.initialize_account(temporary, SOL, ME),
        paper.create_ata(ME, ME, USDC),
        paper.swap(pool, SOL, amount, quote.out_amount, user=user),
        paper.close_account(temporary, ME, ME),
    )

    assert transaction.error is None, transaction.error
    assert lamports(cluster, ME) == my_lamports - amount - transaction.fee_lamports
    assert balance(cluster, ata(USDC)) == my_usdc + quote.out_amount
    assert paper.head(cluster, temporary) is None
    (vault,) = [change for change in transaction.token_changes if change.mint == SOL]
    assert vault.after - vault.before == amount
    assert transaction.lamport_changes[vault.account] == amount


@pytest.mark.parametrize("venue", VENUES)
async def test_sol_is_received_as_lamports(venue: Venue) -> None:
    cluster, pool = await market(venue, SOL, USDC)
    temporary = Pubkey.create_with_seed(ME, "order", TOKEN_PROGRAM)
    user = SwapAccounts(ME, ata(USDC), temporary)
    quote = pool.quote(USDC, THOUSAND_USDC, IN, cluster.validator.chain.head.clock)
    my_lamports = lamports(cluster, ME)

    transaction = await landed(
        cluster,
        paper.create_with_seed(ME, temporary, "order", TOKEN_ACCOUNT_RENT),
        paper.initialize_account(temporary, SOL, ME),
        paper.swap(pool, USDC, THOUSAND_USDC, quote.out_amount, user=user),
        paper.close_account(temporary, ME, ME),
    )

    assert transaction.error is None, transaction.error
    assert lamports(cluster, ME) == my_lamports + quote.out_amount - transaction.fee_lamports


async def test_the_account_that_receives_is_opened_first() -> None:
    cluster, pool = await market(Venue.METEORA_DLMM, USDC, JUP)
    swap = paper.swap(pool, USDC, THOUSAND_USDC)
    without_account = await landed(cluster, swap)
    assert without_account.error is not None
    with_account = await landed(cluster, paper.create_ata(ME, ME, JUP), swap)
    assert with_account.error is None
    assert balance(cluster, ata(JUP)) > 0


@pytest.mark.parametrize("venue", VENUES)
async def test_more_than_the_wallet_holds(venue: Venue) -> None:
    cluster, pool = await market(venue)
    cluster.validator.chain.state.restore({ata(USDC): token_account(USDC, ME, THOUSAND_USDC - 1)})
    error = (await landed(cluster, paper.swap(pool, USDC, THOUSAND_USDC))).error
    assert error is not None
    assert (error.custom_code, error.program_id) == (1, str(TOKEN_PROGRAM))


@pytest.mark.parametrize("venue", VENUES)
async def test_anothers_tokens_cannot_be_spent(venue: Venue) -> None:
    cluster, pool = await market(venue)
    cluster.validator.chain.state.restore({ata(USDC, THEM): token_account(USDC, THEM, THOUSAND_USDC)})
    stolen = SwapAccounts(ME, ata(USDC, THEM), ata(ETH))
    error = (await landed(cluster, paper.swap(pool, USDC, THOUSAND_USDC, user=stolen))).error
    assert error is not None
    assert (error.custom_code, error.program_id) == (4, str(TOKEN_PROGRAM))
    assert balance(cluster, ata(USDC, THEM)) == THOUSAND_USDC


@pytest.mark.parametrize("venue", VENUES)
async def test_the_owner_must_sign(venue: Venue) -> None:
    cluster, pool = await market(venue)
    instruction = paper.swap(pool, USDC, THOUSAND_USDC, user=SwapAccounts(THEM, ata(USDC, THEM), ata(ETH)))
    metas = [type(meta)(meta.pubkey, False, meta.is_writable) for meta in instruction.accounts]
    error = (await landed(cluster, Instruction(instruction.program_id, bytes(instruction.data), metas))).error
    assert error is not None
    assert error.message.startswith("MissingRequiredSignature")


@pytest.mark.parametrize("venue", VENUES)
async def test_accounts_of_another_mint(venue: Venue) -> None:
    cluster, pool = await market(venue)
    for user in (SwapAccounts(ME, ata(USDC), ata(USDC)), SwapAccounts(ME, ata(paper.USDT), ata(ETH))):
        error = (await landed(cluster, paper.swap(pool, USDC, THOUSAND_USDC, user=user))).error
        assert error is not None
        assert error.custom_code == 2014


async def test_a_missing_bin_array_fails_as_on_chain() -> None:
    """A swap that stays in the first array needs only that one; one that walks on needs the next, too."""
    cluster, pool = await market(Venue.METEORA_DLMM)
    full = paper.swap(pool, USDC, THOUSAND_USDC)
    arrays = [meta.pubkey for meta in full.accounts[SWAP_ACCOUNTS:]]
    assert (await landed(cluster, without(full, *arrays[1:]))).error is None
    error = (await landed(cluster, without(full, *arrays))).error
    assert error is not None
    assert error.custom_code == 3005

    half = pool.reserves[1] * 9 // 10
    pool = pool_at(cluster, pool.address)
    far = paper.swap(pool, USDC, half)
    quote = pool.quote(USDC, half, IN, cluster.validator.chain.head.clock)
    assert quote.steps > 30
    limit = paper.unit_limit(1_400_000)
    error = (await landed(cluster, limit, without(far, *arrays[1:]))).error
    assert error is not None
    assert error.custom_code == 3005
    assert (await landed(cluster, limit, far)).error is None

    # What an earlier swap has changed is no business of the next one.
    near = paper.swap(pool_at(cluster, pool.address), USDC, THOUSAND_USDC)
    behind_the_first = [meta.pubkey for meta in near.accounts[SWAP_ACCOUNTS + 1 :]]
    assert (await landed(cluster, without(near, *behind_the_first))).error is None


@pytest.mark.parametrize("venue", VENUES)
async def test_the_pools_own_accounts_must_be_named(venue: Venue) -> None:
    cluster, pool = await market(venue)
    swap = paper.swap(pool, USDC, THOUSAND_USDC)
    (vault,) = [
        meta.pubkey
        for meta in swap.accounts
        if (account := paper.head(cluster, meta.pubkey)) is not None
        and account.owner == TOKEN_PROGRAM
        and bytes(account.data[:32]) == bytes(ETH)
        and meta.pubkey != ata(ETH)
    ]
    replaced = [type(meta)(ata(paper.USDT), False, True) if meta.pubkey == vault else meta for meta in swap.accounts]
    error = (await landed(cluster, Instruction(swap.program_id, bytes(swap.data), replaced))).error
    assert error is not None
    assert error.custom_code == 3005


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("mode", [IN, OUT])
async def test_zero_and_too_much_are_refused_as_the_program_does(venue: Venue, mode: SwapMode) -> None:
    cluster, pool = await market(venue)
    for amount in (0, 2**64 - 1):
        transaction = await landed(cluster, paper.swap(pool, USDC, amount, 0 if mode is IN else 2**64 - 1, mode))
        assert transaction.error is not None
        assert transaction.error.name == "InstructionError"


@pytest.mark.parametrize("program", list(PROGRAMS))
async def test_other_instructions_of_the_program(program: Pubkey) -> None:
    cluster = await paper.paper()
    error = (await landed(cluster, Instruction(program, struct.pack("<Q", 1), []))).error
    assert error is not None
    assert error.custom_code == 101


@pytest.mark.parametrize("venue", VENUES)
async def test_what_is_no_pool_cannot_be_traded_on(venue: Venue) -> None:
    cluster, pool = await market(venue)
    swap = paper.swap(pool, USDC, THOUSAND_USDC)
    state = cluster.validator.chain.state
    account = state.get(pool.address)
    assert account is not None
    for replacement, code in (
        (None, 3012),
        (token_account(USDC, ME, 1), 3007),
        (type(account)(account.owner, account.lamports, b"\0" * len(account.data)), 3003),
    ):
        state.restore({pool.address: replacement})
        error = (await landed(cluster, swap)).error
        assert error is not None
        assert error.custom_code == code


async def test_bins_cost_compute_units() -> None:
    cluster, pool = await market(Venue.METEORA_DLMM)
    small = await cluster.simulate(await _raw(cluster, paper.swap(pool, USDC, THOUSAND_USDC)))
    amount = pool.reserves[1] // 3
    steps = pool.quote(USDC, amount, IN, cluster.validator.chain.head.clock).steps
    large = await cluster.simulate(await _raw(cluster, paper.unit_limit(1_400_000), paper.swap(pool, USDC, amount)))
    assert steps > 5
    assert large.error is None
    assert large.units_consumed - small.units_consumed == 150 + 8_000 * (steps - 1)


async def _raw(cluster: PaperCluster, *instructions: Instruction) -> bytes:
    blockhash = await cluster.latest_blockhash(Commitment.CONFIRMED)
    return paper.signed(blockhash.blockhash, instructions)[1]
