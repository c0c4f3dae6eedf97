"""What the ledger keeps comes back as it was, and changes are kept small."""

import pytest
from solders.pubkey import Pubkey

from bestex.paper.records import (
    TransactionRecord,
    pack_accounts,
    pack_record,
    pack_records,
    pack_writes,
    unpack_accounts,
    unpack_record,
    unpack_records,
    unpack_writes,
)
from bestex.ports import TransactionError
from bestex.types import Account, Signature

OWNER, OTHER, ADDRESS = (Pubkey(bytes([byte]) * 32) for byte in (1, 2, 3))
ARRAY = bytes(range(256)) * 40


def account(data: bytes, lamports: int = 5, owner: Pubkey = OWNER) -> Account:
    return Account(owner, lamports, data)


def edited(data: bytes, *places: int) -> bytes:
    changed = bytearray(data)
    for place in places:
        changed[place] ^= 0xFF
    return bytes(changed)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, account(b"")),
        (None, account(ARRAY)),
        (account(ARRAY), None),
        (account(b"abc"), account(b"abc", 2**64 - 1)),
        (account(b"abc"), account(b"abc", owner=OTHER)),
        (account(b"abc"), account(b"abcd")),
        (account(b"abc"), account(b"")),
        (account(ARRAY), account(ARRAY)),
        (account(ARRAY), account(edited(ARRAY, 0))),
        (account(ARRAY), account(edited(ARRAY, len(ARRAY) - 1))),
        (account(ARRAY), account(edited(ARRAY, 0, len(ARRAY) - 1))),
        (account(ARRAY), account(edited(ARRAY, 255, 256))),
        (account(ARRAY[:300]), account(edited(ARRAY[:300], 299))),
    ],
)
def test_changes_come_back(before: Account | None, after: Account | None) -> None:
    old = {} if before is None else {ADDRESS: before}
    packed = pack_writes({ADDRESS: after}, old)
    assert unpack_writes(packed, old) == {ADDRESS: after}


def test_a_small_change_of_a_large_account_is_small() -> None:
    after = account(edited(ARRAY, 5_000, 5_100))
    assert len(pack_writes({ADDRESS: after}, {ADDRESS: account(ARRAY)})) < 700


def test_accounts_come_back() -> None:
    accounts = {ADDRESS: account(ARRAY), OWNER: account(b"", 2**64 - 1)}
    assert unpack_accounts(pack_accounts(accounts.items())) == accounts


def test_records_come_back() -> None:
    error = TransactionError("InstructionError", 3, 6005, str(OWNER), "slippage")
    changes = [(bytes(ADDRESS), bytes(OWNER), bytes(OTHER), 2**64 - 1, 0)]
    record = TransactionRecord(
        Signature("s"), error, 5_000, 77, changes, [(bytes(OWNER), -5_000)], ["log"], b"raw", [7]
    )
    plain = TransactionRecord(Signature("t"), None, 5_000, 0, [], [], [])
    packed = pack_records([pack_record(record), pack_record(plain)])
    assert [unpack_record(data) for data in unpack_records(packed)] == [record, plain]
    landed = record.landed(12)
    assert (landed.signature, landed.slot, landed.error, landed.units_consumed) == ("s", 12, error, 77)
    assert landed.lamport_changes == {OWNER: -5_000}
    (change,) = landed.token_changes
    assert (change.account, change.mint, change.owner) == (ADDRESS, OWNER, OTHER)
    assert (change.before, change.after) == (2**64 - 1, 0)
