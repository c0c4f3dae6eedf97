"""What the ledger keeps, as bytes: transactions as they landed, and what each commit changed in the accounts."""

from collections.abc import Iterable, Mapping

import msgspec
from solders.pubkey import Pubkey

from bestex.ports import LandedTransaction, TokenChange, TransactionError
from bestex.types import Account, Signature, Slot

_CHUNK_BYTES = 256
_GONE = -1


class TransactionRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A transaction that landed, whether it succeeded or failed."""

    signature: Signature
    error: TransactionError | None
    fee_lamports: int
    units_consumed: int
    token_changes: list[tuple[bytes, bytes, bytes, int, int]]
    """Account, mint, owner, base units before and after."""
    lamport_changes: list[tuple[bytes, int]]
    logs: list[str]
    raw: bytes = b""
    """As it was sent; empty in records of earlier releases."""
    balances: list[int] = []
    """Lamports of each of its accounts before it ran."""

    def landed(self, slot: Slot) -> LandedTransaction:
        """As the port shows it."""
        return LandedTransaction(
            signature=self.signature,
            slot=slot,
            error=self.error,
            fee_lamports=self.fee_lamports,
            units_consumed=self.units_consumed,
            token_changes=[
                TokenChange(Pubkey(account), Pubkey(mint), Pubkey(owner), before, after)
                for account, mint, owner, before, after in self.token_changes
            ],
            lamport_changes={Pubkey(account): change for account, change in self.lamport_changes},
            logs=self.logs,
        )


class _Patch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An account after a commit, as what differs from the account before it."""

    address: bytes
    owner: bytes
    lamports: int
    size: int
    """Of the whole data; -1 where the account is gone."""
    offset: int
    data: bytes


_encoder = msgspec.msgpack.Encoder()
_records = msgspec.msgpack.Decoder(list[bytes])
_record = msgspec.msgpack.Decoder(TransactionRecord)
_patches = msgspec.msgpack.Decoder(list[_Patch])


def pack_record(record: TransactionRecord) -> bytes:
    """One record."""
    return _encoder.encode(record)


def unpack_record(data: bytes) -> TransactionRecord:
    """The record that `pack_record` wrote."""
    return _record.decode(data)


def pack_records(records: list[bytes]) -> bytes:
    """The packed records of one commit, in the order in which they ran."""
    return _encoder.encode(records)


def unpack_records(data: bytes) -> list[bytes]:
    """The packed records that `pack_records` was given."""
    return _records.decode(data)


def pack_writes(writes: Mapping[Pubkey, Account | None], before: Mapping[Pubkey, Account | None]) -> bytes:
    """What a commit did to the accounts. Of an account that keeps its size, only the bytes from the first to the last
    change: one swap changes a few hundred of a bin array's ten thousand bytes."""
    return _encoder.encode([_patch(address, before.get(address), account) for address, account in writes.items()])


def unpack_writes(data: bytes, before: Mapping[Pubkey, Account]) -> dict[Pubkey, Account | None]:
    """The accounts after a commit, from those before it."""
    return {Pubkey(patch.address): _apply(patch, before) for patch in _patches.decode(data)}


def pack_accounts(accounts: Iterable[tuple[Pubkey, Account]]) -> bytes:
    """Whole accounts: a snapshot."""
    return _encoder.encode([_patch(address, None, account) for address, account in accounts])


def unpack_accounts(data: bytes) -> dict[Pubkey, Account]:
    """The accounts that `pack_accounts` wrote."""
    return {Pubkey(patch.address): Account(Pubkey(patch.owner), patch.lamports, patch.data)
            for patch in _patches.decode(data)}  # fmt: skip


def _patch(address: Pubkey, before: Account | None, after: Account | None) -> _Patch:
    if after is None:
        return _Patch(bytes(address), b"", 0, _GONE, 0, b"")
    data = after.data
    start, end = 0, len(data)
    if before is not None and len(before.data) == end:
        start, end = _changed(before.data, data)
    return _Patch(bytes(address), bytes(after.owner), after.lamports, len(data), start, data[start:end])


def _apply(patch: _Patch, before: Mapping[Pubkey, Account]) -> Account | None:
    if patch.size == _GONE:
        return None
    data = patch.data
    if len(data) < patch.size:
        old = before[Pubkey(patch.address)].data
        data = old[: patch.offset] + data + old[patch.offset + len(data) :]
    return Account(Pubkey(patch.owner), patch.lamports, data)


def _changed(before: bytes, after: bytes) -> tuple[int, int]:
    """Where two byte strings of one length differ, in whole chunks: from, to."""
    if before == after:
        return 0, 0
    starts = range(0, len(after), _CHUNK_BYTES)
    first = next(at for at in starts if before[at : at + _CHUNK_BYTES] != after[at : at + _CHUNK_BYTES])
    last = next(at for at in reversed(starts) if before[at : at + _CHUNK_BYTES] != after[at : at + _CHUNK_BYTES])
    return first, min(last + _CHUNK_BYTES, len(after))
