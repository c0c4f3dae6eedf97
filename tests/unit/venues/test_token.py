"""SPL Token and Token-2022: layouts, transfer fees, addresses, and mints that are refused."""

import struct

import pytest
from solders.pubkey import Pubkey
from solders.token.associated import get_associated_token_address

from bestex.errors import UnsupportedPool
from bestex.types import U64_MAX, Account
from bestex.venues import token
from bestex.venues.pool import Venue
from bestex.venues.token import TOKEN_2022_PROGRAM, TOKEN_PROGRAM, TransferFee, TransferFeeConfig
from tests.support.venues import golden, with_data

MINT, OWNER = Pubkey(bytes([3]) * 32), Pubkey(bytes([4]) * 32)
FEE = TransferFeeConfig(older=TransferFee(5, 1_000, 25), newer=TransferFee(9, 2_000, 50))


def extended(account: Account, account_type: int, *entries: tuple[int, bytes]) -> Account:
    """A Token-2022 account with these extensions."""
    tail = b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in entries)
    data = account.data[:165].ljust(165, b"\x00") + bytes([account_type]) + tail
    return Account(TOKEN_2022_PROGRAM, account.lamports, data)


def test_golden_mints_are_made_and_read() -> None:
    fees = 0
    for venue in Venue:
        for pool in golden(venue).pools:
            loaded = pool.loaded()
            for role in pool.accounts:
                if role.startswith("mint_"):
                    account = loaded[pool.address_of(role)]
                    info = token.decode_mint(account)
                    assert token.mint_account(info.decimals, info.supply, info.program, info.transfer_fee) == account
                    fees += info.transfer_fee is not None
    assert fees >= 10


def test_golden_vaults_are_made_and_read() -> None:
    for venue in Venue:
        for pool in golden(venue).pools:
            loaded = pool.loaded()
            for role in pool.accounts:
                if role.startswith(("vault_", "reserve_")):
                    account = loaded[pool.address_of(role)]
                    held = token.decode_token_account(account)
                    withholds = held.withheld_at is not None
                    made = token.token_account(
                        held.mint, held.owner, held.amount, account.owner, withholds_fees=withholds
                    )
                    assert made == account


@pytest.mark.parametrize(
    ("program", "size", "lamports"), [(TOKEN_PROGRAM, 165, 2_039_280), (TOKEN_2022_PROGRAM, 165, 2_039_280)]
)
def test_token_account_is_rent_exempt(program: Pubkey, size: int, lamports: int) -> None:
    account = token.token_account(MINT, OWNER, 7, program)
    assert (len(account.data), account.lamports, account.owner) == (size, lamports, program)


def test_wrapped_sol_is_held_in_lamports_too() -> None:
    account = token.token_account(token.NATIVE_MINT, OWNER, 500)
    assert account.lamports == 2_039_280 + 500
    assert token.credit(account, 40).lamports == 2_039_280 + 540
    assert token.credit(account, -500).lamports == 2_039_280
    assert struct.unpack_from("<IQ", account.data, 109) == (1, 2_039_280)


def test_credit_changes_the_amount_and_nothing_else() -> None:
    account = token.token_account(MINT, OWNER, 500)
    after = token.credit(account, -20)
    assert token.decode_token_account(after).amount == 480
    assert after.lamports == account.lamports
    assert token.credit(after, 20) == account


def test_credit_counts_withheld_fees() -> None:
    account = token.token_account(MINT, OWNER, 500, TOKEN_2022_PROGRAM, withholds_fees=True)
    after = token.credit(token.credit(account, 90, withheld=10), 1, withheld=2)
    at = token.decode_token_account(after).withheld_at
    assert at is not None
    assert (token.decode_token_account(after).amount, struct.unpack_from("<Q", after.data, at)) == (591, (12,))


@pytest.mark.parametrize(("amount", "withheld"), [(-501, 0), (U64_MAX, 0), (0, 1)])
def test_credit_refuses_what_an_account_cannot_hold(amount: int, withheld: int) -> None:
    with pytest.raises(ValueError, match="Token"):
        token.credit(token.token_account(MINT, OWNER, 500), amount, withheld)


def test_fee_changes_with_its_epoch() -> None:
    assert [FEE.at(epoch).fee_bps for epoch in (0, 8, 9, 10)] == [25, 25, 50, 50]


@pytest.mark.parametrize(
    ("fee_bps", "maximum", "amount", "fee"),
    [
        (0, 10, 1_000, 0),
        (100, 10**9, 0, 0),
        (100, 10**9, 1, 1),
        (100, 10**9, 100, 1),
        (100, 10**9, 101, 2),
        (100, 5, 10**6, 5),
    ],
)
def test_fee_is_rounded_up_and_capped(fee_bps: int, maximum: int, amount: int, fee: int) -> None:
    assert TransferFee(0, maximum, fee_bps).on(amount) == fee


@pytest.mark.parametrize(
    ("fee_bps", "maximum", "net", "added"),
    [
        (0, 10, 1_000, 0),
        (100, 10**9, 0, 0),
        (100, 10**9, 99, 1),
        (100, 10**9, 100, 2),
        (100, 5, 10**6, 5),
        (10_000, 777, 3, 777),
    ],
)
def test_fee_to_add_so_that_an_amount_arrives(fee_bps: int, maximum: int, net: int, added: int) -> None:
    fee = TransferFee(0, maximum, fee_bps)
    assert fee.to_deliver(net) == added
    assert net + added - fee.on(net + added) >= net or fee_bps == 10_000


def test_associated_address_is_that_of_the_program() -> None:
    for program in (TOKEN_PROGRAM, TOKEN_2022_PROGRAM):
        expected = get_associated_token_address(OWNER, MINT, program)
        assert token.associated_token_address(OWNER, MINT, program) == expected


HARMLESS = [
    (3, bytes(32)),
    (6, b"\x01"),
    (10, bytes(52)),
    (12, bytes(32)),
    (14, bytes([9]) * 32 + bytes(32)),
    (18, bytes(64)),
    (19, bytes(90)),
]


@pytest.mark.parametrize("extension", HARMLESS, ids=lambda extension: str(extension[0]))
def test_extensions_that_leave_transfers_alone(extension: tuple[int, bytes]) -> None:
    plain = token.mint_account(6, 1_000, TOKEN_2022_PROGRAM)
    with_fee = token.mint_account(6, 1_000, TOKEN_2022_PROGRAM, FEE)
    assert token.decode_mint(extended(plain, 1, extension)).transfer_fee is None
    both = extended(plain, 1, extension, (1, with_fee.data[170:]), (0, b""), (9, b""))
    assert token.decode_mint(both).transfer_fee == FEE


@pytest.mark.parametrize(
    ("extension", "name"),
    [
        ((4, bytes(65)), "ConfidentialTransferMint"),
        ((6, b"\x02"), "DefaultAccountState"),
        ((9, b""), "NonTransferable"),
        ((14, bytes(32) + bytes([9]) * 32), "TransferHook"),
        ((14, bytes(8)), "TransferHook"),
        ((16, bytes(129)), "ConfidentialTransferFeeConfig"),
        ((25, bytes(56)), "ScaledUiAmount"),
        ((26, bytes(33)), "Pausable"),
        ((99, b""), "extension 99"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)
def test_mint_with_another_extension_is_refused(extension: tuple[int, bytes], name: str) -> None:
    mint = extended(token.mint_account(6, 1_000, TOKEN_2022_PROGRAM), 1, extension)
    with pytest.raises(UnsupportedPool, match=name):
        token.decode_mint(mint)


PLAIN = token.mint_account(6, 1_000)
WITH_FEE = token.mint_account(6, 1_000, TOKEN_2022_PROGRAM, FEE)


@pytest.mark.parametrize(
    "account",
    [
        Account(OWNER, 1, PLAIN.data),
        with_data(PLAIN, PLAIN.data[:81]),
        with_data(PLAIN, PLAIN.data + b"\x00"),
        with_data(PLAIN, bytes(82)),
        with_data(WITH_FEE, WITH_FEE.data[:165]),
        with_data(WITH_FEE, WITH_FEE.data[:165] + b"\x02" + WITH_FEE.data[166:]),
        with_data(WITH_FEE, WITH_FEE.data[:-1]),
        with_data(WITH_FEE, WITH_FEE.data[:-2] + b"\xff\xff"),
        extended(PLAIN, 1, (1, bytes(107))),
    ],
    ids=["owner", "short", "long", "uninitialized", "no type", "not a mint", "cut", "above 100 %", "fee layout"],
)
def test_malformed_mint_is_refused(account: Account) -> None:
    with pytest.raises(UnsupportedPool):
        token.decode_mint(account)


HELD = token.token_account(MINT, OWNER, 500)


@pytest.mark.parametrize(
    "account",
    [
        Account(OWNER, 1, HELD.data),
        with_data(HELD, HELD.data[:164]),
        with_data(HELD, HELD.data + b"\x00"),
        with_data(HELD, bytes(165)),
        with_data(HELD, HELD.data[:108] + b"\x03" + HELD.data[109:]),
    ],
    ids=["owner", "short", "long", "uninitialized", "state"],
)
def test_malformed_token_account_is_refused(account: Account) -> None:
    with pytest.raises(UnsupportedPool):
        token.decode_token_account(account)


def test_only_token_2022_has_extensions() -> None:
    with pytest.raises(ValueError, match="Token-2022"):
        token.mint_account(6, 1_000, TOKEN_PROGRAM, FEE)
    with pytest.raises(ValueError, match="Token-2022"):
        token.token_account(MINT, OWNER, 1, TOKEN_PROGRAM, withholds_fees=True)
