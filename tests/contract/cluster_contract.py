"""What every Cluster must do, whoever stands behind the port. A paper cluster tells what is true."""

import asyncio
from typing import Protocol

import msgspec
import pytest
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from bestex.errors import BestexError
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import NetworkProfile
from bestex.ports import Cluster, TransactionError
from bestex.types import Commitment, Signature
from bestex.venues.token import TOKEN_PROGRAM
from tests.support import paper as on
from tests.support.paper import ETH, FINAL_AFTER_8, JUP, STRANGER, USDC, WALLET, ata, pools_of, signed
from tests.support.rpc import in_order

ME, THEM = WALLET.pubkey(), STRANGER.pubkey()
UNKNOWN = Signature("1" * 64)
FORGETFUL = msgspec.structs.replace(FINAL_AFTER_8, status_cache_slots=4, blockhash_max_age_blocks=3)
"""Remembers statuses for a few slots only."""


class Harness(Protocol):
    """The cluster under test, and the truth behind it."""

    cluster: Cluster
    paper: PaperCluster


class ClusterContract:
    """Subclass it with a fixture `harness` that honors the fixture `profile`."""

    @pytest.fixture
    def profile(self, request: pytest.FixtureRequest) -> NetworkProfile:
        return FORGETFUL if "forgetful" in request.node.name else FINAL_AFTER_8

    # --- reading ------------------------------------------------------------------------------------------------------

    async def test_is_simulated(self, harness: Harness) -> None:
        assert harness.cluster.simulated

    @pytest.mark.parametrize("commitment", list(Commitment))
    async def test_blockhash_and_height_of_each_commitment(self, harness: Harness, commitment: Commitment) -> None:
        await tick(harness, 12)
        assert await harness.cluster.latest_blockhash(commitment) == await harness.paper.latest_blockhash(commitment)
        assert await harness.cluster.height(commitment) == await harness.paper.height(commitment)

    async def test_a_height_is_of_its_slot(self, harness: Harness) -> None:
        await tick(harness, 12)
        heights = [await harness.cluster.height(commitment) for commitment in Commitment]
        assert [height.slot for height in heights] == [13, 12, 5]
        assert [height.block_height for height in heights] == [13, 12, 5]

    @pytest.mark.parametrize("commitment", list(Commitment))
    async def test_accounts_in_order_with_the_clock_of_their_slot(
        self, harness: Harness, commitment: Commitment
    ) -> None:
        await land(harness, on.transfer_sol(ME, THEM, 10**7))
        asked = [ata(USDC), STRANGER.pubkey(), USDC, ata(JUP), harness.paper.pools[0], ME]
        answer = await harness.cluster.accounts(asked, commitment)
        assert answer == await harness.paper.accounts(asked, commitment)
        assert answer.clock.slot == answer.slot
        assert answer.accounts[3] is None
        assert (answer.accounts[1] is not None) is (commitment is Commitment.PROCESSED)

    @pytest.mark.parametrize("count", [0, 1, 99, 100, 101])
    async def test_any_number_of_accounts_is_of_one_slot(self, harness: Harness, count: int) -> None:
        asked = [(*harness.paper.pools, USDC, ME)[at % (len(harness.paper.pools) + 2)] for at in range(count)]
        answer = await harness.cluster.accounts(asked, Commitment.CONFIRMED)
        assert answer == await harness.paper.accounts(asked, Commitment.CONFIRMED)

    async def test_priority_fees(self, harness: Harness) -> None:
        pool, other = pools_of(harness.paper, USDC, ETH)[:2]
        for price in (7_000, 9_000):
            await land(harness, on.unit_price(price), on.swap(pool, USDC, 10**9))
        for asked in ([pool.address], [pool.address, other.address], [ME], []):
            assert await harness.cluster.priority_fees(asked) == await harness.paper.priority_fees(asked)
        assert await harness.cluster.priority_fees([pool.address]) == [7_000, 9_000]

    # --- simulation ---------------------------------------------------------------------------------------------------

    async def test_simulation_of_a_good_transaction(self, harness: Harness) -> None:
        pool = pools_of(harness.paper, USDC, ETH)[0]
        _, raw = await build(harness, on.swap(pool, USDC, 10**6))
        simulation = await harness.cluster.simulate(raw)
        assert simulation.error is None
        assert simulation.units_consumed > 0
        assert simulation == await harness.paper.simulate(raw)

    async def test_simulation_needs_neither_signature_nor_blockhash(self, harness: Harness) -> None:
        _, raw = signed(str(THEM), [on.memo(b"hello")])
        assert (await harness.cluster.simulate(raw[:1] + bytes(64) + raw[65:])).error is None

    async def test_simulation_names_the_programs_own_error(self, harness: Harness) -> None:
        for pool in [pools_of(harness.paper, USDC, ETH, venue)[0] for venue in venues(harness)]:
            _, raw = await build(harness, on.memo(b"first"), on.swap(pool, USDC, 10**6, threshold=10**15))
            error = (await harness.cluster.simulate(raw)).error
            assert error is not None
            assert (error.name, error.instruction_index) == ("InstructionError", 1)
            assert error.custom_code is not None
            assert error.program_id is not None
            assert error == (await harness.paper.simulate(raw)).error

    async def test_simulation_names_the_program_that_failed_within_another(self, harness: Harness) -> None:
        pool = pools_of(harness.paper, USDC, ETH)[0]
        _, raw = await build(harness, on.swap(pool, USDC, 10**17))
        error = (await harness.cluster.simulate(raw)).error
        assert error is not None
        assert (error.custom_code, error.program_id) == (1, str(TOKEN_PROGRAM))
        assert error == (await harness.paper.simulate(raw)).error

    async def test_simulation_with_an_error_of_the_runtime(self, harness: Harness) -> None:
        for instruction in (
            on.transfer_sol(ME, THEM, 10**18),
            on.memo(b"\xff"),
            on.transfer(ata(USDC), ata(JUP), ME, 1),
            on.initialize_account(ata(USDC), USDC, ME),
        ):
            _, raw = await build(harness, instruction)
            error = (await harness.cluster.simulate(raw)).error
            assert error is not None
            assert error == (await harness.paper.simulate(raw)).error

    async def test_simulation_of_a_transaction_that_no_leader_takes(self, harness: Harness) -> None:
        blockhash = await harness.paper.latest_blockhash(Commitment.FINALIZED)
        _, raw = signed(blockhash.blockhash, [on.memo(b"x")], payer=STRANGER)
        assert named((await harness.cluster.simulate(raw)).error) == ("AccountNotFound", None, None)
        _, raw = await build(harness, on.unit_limit(1), on.unit_limit(2))
        assert named((await harness.cluster.simulate(raw)).error) == ("DuplicateInstruction", 1, None)

    async def test_bytes_that_are_no_transaction_are_refused(self, harness: Harness) -> None:
        for call in (harness.cluster.simulate, harness.cluster.send):
            for raw in (b"", b"nonsense", bytes(2_000)):
                with pytest.raises(BestexError):
                    await call(raw)

    # --- sending, and what becomes of it ------------------------------------------------------------------------------

    async def test_send_land_and_ripen(self, harness: Harness) -> None:
        signature, raw = await build(harness, on.memo(b"x"))
        await harness.cluster.send(raw)
        await harness.cluster.send(raw)
        assert await status(harness, signature) is None
        seen = []
        for _ in range(10):
            await tick(harness)
            answer = await harness.cluster.statuses([signature], search_history=False)
            assert answer == await harness.paper.statuses([signature], search_history=False)
            assert answer.statuses[0] is not None
            seen.append(answer.statuses[0].commitment)
        assert list(dict.fromkeys(seen)) == list(Commitment)
        assert len(await harness.paper.history()) == 1

    async def test_statuses_in_order(self, harness: Harness) -> None:
        good = await land(harness, on.memo(b"good"))
        bad = await land(harness, on.transfer_sol(ME, THEM, 10**18))
        await tick(harness, 3)
        answer = await harness.cluster.statuses([bad, UNKNOWN, good], search_history=True)
        assert answer == await harness.paper.statuses([bad, UNKNOWN, good], search_history=True)
        assert answer.statuses[1] is None
        assert answer.statuses[0] is not None
        assert answer.statuses[0].error is not None

    async def test_a_failure_that_is_not_confirmed_has_its_number(self, harness: Harness) -> None:
        pool = pools_of(harness.paper, USDC, ETH)[0]
        signature = await land(harness, on.swap(pool, USDC, 10**6, threshold=10**15))
        found = await harness.cluster.statuses([signature], search_history=False)
        true = await harness.paper.statuses([signature], search_history=False)
        assert found.statuses[0] is not None
        assert true.statuses[0] is not None
        assert named(found.statuses[0].error) == named(true.statuses[0].error)

    async def test_old_statuses_of_a_forgetful_node_need_a_search(self, harness: Harness) -> None:
        signature = await land(harness, on.memo(b"x"))
        await tick(harness, 20)
        assert (await harness.cluster.statuses([signature], search_history=False)).statuses == [None]
        answer = await harness.cluster.statuses([signature], search_history=True)
        assert answer == await harness.paper.statuses([signature], search_history=True)
        assert answer.statuses[0] is not None

    async def test_at_most_256_statuses_at_once(self, harness: Harness) -> None:
        assert len((await harness.cluster.statuses([UNKNOWN] * 256, search_history=False)).statuses) == 256
        with pytest.raises(ValueError, match="256"):
            await harness.cluster.statuses([UNKNOWN] * 257, search_history=False)

    async def test_a_fork_takes_a_status_back(self, harness: Harness) -> None:
        signature = await land(harness, on.memo(b"x"))
        assert await harness.paper.validator.fork(1) == 1
        assert await status(harness, signature) is None

    async def test_transactions_as_they_landed(self, harness: Harness) -> None:
        pools = [pools_of(harness.paper, USDC, ETH, venue)[0] for venue in venues(harness)]
        signatures = [await land(harness, on.unit_price(5), on.swap(pool, USDC, 10**8)) for pool in pools]
        signatures.append(await land(harness, on.create_ata(ME, ME, JUP)))
        signatures.append(await land(harness, *wrapped_and_gone()))
        signatures.append(await land(harness, on.swap(pools[0], USDC, 10**6, threshold=10**15)))
        signatures.append(await land(harness, on.swap(pools[0], USDC, 10**17)))
        await tick(harness)
        for signature in signatures:
            found = await harness.cluster.transaction(signature)
            assert found is not None
            assert in_order(found) == in_order(await harness.paper.transaction(signature))

    async def test_a_transaction_is_shown_from_confirmed_on(self, harness: Harness) -> None:
        assert await harness.cluster.transaction(UNKNOWN) is None
        signature = await land(harness, on.memo(b"x"))
        assert await harness.cluster.transaction(signature) is None
        await tick(harness)
        assert await harness.cluster.transaction(signature) is not None

    # --- the hint -----------------------------------------------------------------------------------------------------

    async def test_waiting_ends_with_the_landing(self, harness: Harness) -> None:
        signature, raw = await build(harness, on.memo(b"x"))
        waits = [asyncio.create_task(harness.cluster.wait_landing(signature, 60.0)) for _ in range(3)]
        await harness.cluster.send(raw)
        await tick(harness)
        async with asyncio.timeout(10.0):
            await asyncio.gather(*waits)
            await harness.cluster.wait_landing(signature, 60.0)

    async def test_waiting_ends_with_its_time(self, harness: Harness) -> None:
        async with asyncio.timeout(10.0):
            await harness.cluster.wait_landing(UNKNOWN, 0.05)
            await harness.cluster.wait_landing(UNKNOWN, 0.0)


def venues(harness: Harness) -> list[str]:
    return sorted({pool.venue for pool in pools_of(harness.paper, USDC, ETH)})


def wrapped_and_gone() -> list[Instruction]:
    """SOL wrapped into an account that does not outlive its transaction."""
    account = Pubkey.create_with_seed(ME, "temporary", TOKEN_PROGRAM)
    return [
        on.create_with_seed(ME, account, "temporary", on.TOKEN_ACCOUNT_RENT + 10**6),
        on.initialize_account(account, on.SOL, ME),
        on.close_account(account, ME, ME),
    ]


def named(error: TransactionError | None) -> tuple[str, int | None, int | None] | None:
    return (error.name, error.instruction_index, error.custom_code) if error else None


async def tick(harness: Harness, slots: int = 1) -> None:
    for _ in range(slots):
        await harness.paper.validator.tick()


async def build(harness: Harness, *instructions: Instruction) -> tuple[Signature, bytes]:
    blockhash = await harness.cluster.latest_blockhash(Commitment.FINALIZED)
    return signed(blockhash.blockhash, instructions)


async def land(harness: Harness, *instructions: Instruction) -> Signature:
    """Send a transaction through the cluster under test, into a block of its own."""
    signature, raw = await build(harness, *instructions)
    await harness.cluster.send(raw)
    await tick(harness)
    return signature


async def status(harness: Harness, signature: Signature) -> object:
    return (await harness.cluster.statuses([signature], search_history=False)).statuses[0]
