"""Composed transactions: complete, within the network's limits, unique, and accepted by the real native programs."""

from typing import Any

import pytest
from solders.account import Account as SoldersAccount
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import TransactionMetadata

from bestex.execution.building import TOKEN_ACCOUNT_RENT_LAMPORTS, Composer, Composition
from bestex.routing.quote import Route
from bestex.solana.instructions import compute_unit_limit, memo
from bestex.solana.transaction import MAX_ACCOUNT_LOCKS, MAX_BYTES, draft
from bestex.types import Account, Token
from bestex.venues.pool import Pool
from bestex.venues.token import TOKEN_PROGRAM, associated_token_address
from tests.support.choosing import chosen
from tests.support.market import JUP, MINTS, SOL, USDC, cpmm, dlmm

KEYPAIR = Keypair.from_seed(bytes(range(32)))
WALLET = KEYPAIR.pubkey()
BLOCKHASH = "11111111111111111111111111111111"
ORDER_ID = "0199c0de-0000-7000-8000-000000000001"

CPMM = cpmm(SOL, USDC, (10**13, 10**12))
DLMM = dlmm(SOL, USDC, (200 * 10**9, 32_000 * 10**6), active_id=-1834)
TOKENS = cpmm(JUP, USDC, (10**13, 10**12))


def route(pool: Pool, token_in: Token, token_out: Token) -> Route:
    return chosen([pool], token_in.mint, token_out.mint, 10**6)


def compose(pool: Pool, token_in: Token, token_out: Token, **changes: Any) -> Composition:
    options: dict[str, Any] = {
        "reference": ORDER_ID,
        "attempt": 1,
        "blockhash": BLOCKHASH,
        "unit_limit": 10,
        "unit_price_micro_lamports": 5,
    }
    return Composer(WALLET).compose(route(pool, token_in, token_out), (token_in, token_out), **(options | changes))


@pytest.mark.parametrize("pool", [CPMM, DLMM])
def test_sol_is_wrapped_for_this_transaction_only(pool: Pool) -> None:
    assert compose(pool, SOL, USDC).steps == (
        "setComputeUnitLimit",
        "setComputeUnitPrice",
        "memo",
        "createWrappedSol",
        "initializeWrappedSol",
        "createTokenAccount",
        f"swap:{pool.venue}",
        "unwrapSol",
    )


def test_between_tokens_nothing_is_wrapped() -> None:
    assert compose(TOKENS, JUP, USDC).steps == (
        "setComputeUnitLimit",
        "setComputeUnitPrice",
        "memo",
        "createTokenAccount",
        "swap:raydium_cpmm",
    )


@pytest.mark.parametrize(("pool", "pair"), [(CPMM, (SOL, USDC)), (DLMM, (USDC, SOL)), (TOKENS, (JUP, USDC))])
def test_within_the_limits_of_the_network(pool: Pool, pair: tuple[Token, Token]) -> None:
    composition = compose(pool, *pair)
    _, signed = composition.draft.sign(lambda message: bytes(KEYPAIR.sign_message(message)))
    assert len(signed) == composition.draft.size_bytes <= MAX_BYTES
    assert composition.draft.account_locks <= MAX_ACCOUNT_LOCKS


def test_the_signature_is_the_one_of_the_wire_bytes() -> None:
    signature, signed = compose(CPMM, SOL, USDC).draft.sign(lambda message: bytes(KEYPAIR.sign_message(message)))
    transaction = VersionedTransaction.from_bytes(signed)
    assert str(transaction.signatures[0]) == signature
    assert transaction.verify_with_results() == [True]


def test_equal_orders_have_different_transactions() -> None:
    """Otherwise both would have one signature, one would land, and both would be booked as filled."""
    one = compose(TOKENS, JUP, USDC)
    other = compose(TOKENS, JUP, USDC, reference="0199c0de-0000-7000-8000-000000000002")
    again = compose(TOKENS, JUP, USDC, attempt=2)
    assert len({bytes(each.draft.unsigned()) for each in (one, other, again)}) == 3


def test_another_compute_limit_changes_nothing_else() -> None:
    composition = compose(CPMM, SOL, USDC)
    limited = composition.draft.with_compute_unit_limit(77_000)
    same = compose(CPMM, SOL, USDC, unit_limit=77_000).draft
    assert limited.unsigned() == same.unsigned()


def test_too_large_a_transaction_is_refused() -> None:
    with pytest.raises(ValueError, match="1232"):
        draft(WALLET, [compute_unit_limit(1), memo("x" * 1200)], BLOCKHASH)


class RealPrograms:
    """The native and SPL programs' own bytecode, in process."""

    def __init__(self) -> None:
        self.svm = LiteSVM()
        self.svm.airdrop(WALLET, 10**10)
        for mint, account in MINTS.items():
            self.svm.set_account(mint, _solders_account(account))

    def send_all_but_swap(self, route: Route, pair: tuple[Token, Token]) -> TransactionMetadata:
        """The swap's own bytes are held against recorded answers elsewhere."""
        composer = Composer(WALLET)
        composer._swaps = lambda route, accounts: []  # type: ignore[method-assign]  # what stands around the swaps
        rest = composer.compose(
            route, pair, reference=ORDER_ID, attempt=1, blockhash=str(self.svm.latest_blockhash()),
            unit_limit=200_000, unit_price_micro_lamports=1_000,
        )  # fmt: skip
        signature, signed = rest.draft.sign(lambda message: bytes(KEYPAIR.sign_message(message)))
        result = self.svm.send_transaction(VersionedTransaction.from_bytes(signed))
        assert isinstance(result, TransactionMetadata), result
        assert result.signature() == Signature.from_string(signature)
        return result

    def lamports(self, address: Pubkey) -> int:
        account = self.svm.get_account(address)
        return account.lamports if account else 0


def _solders_account(account: Account) -> SoldersAccount:
    return SoldersAccount(account.lamports, account.data, account.owner)


@pytest.mark.parametrize("pair", [(SOL, USDC), (USDC, SOL)])
def test_the_real_programs_accept_what_stands_around_the_swap(pair: tuple[Token, Token]) -> None:
    real = RealPrograms()
    before = real.lamports(WALLET)
    result = real.send_all_but_swap(route(CPMM, *pair), pair)
    temporary = Pubkey.create_with_seed(WALLET, ORDER_ID.replace("-", ""), TOKEN_PROGRAM)
    assert real.lamports(temporary) == 0, "nothing stays wrapped"
    usdc_account = associated_token_address(WALLET, USDC.mint, USDC.program)
    created = TOKEN_ACCOUNT_RENT_LAMPORTS if pair[1] is USDC else 0
    assert real.lamports(usdc_account) == created
    fee = 5_000 + 200  # 200,000 units at 1,000 micro-lamports
    assert before - real.lamports(WALLET) == fee + created
    assert any(ORDER_ID in line for line in result.logs())
