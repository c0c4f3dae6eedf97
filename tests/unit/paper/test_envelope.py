"""A transaction as it arrives: taken apart, measured, its signatures checked, refused where no validator would look."""

import pytest
from solders.hash import Hash
from solders.instruction import AccountMeta, CompiledInstruction, Instruction
from solders.message import Message, MessageAddressTableLookup, MessageHeader, MessageV0, to_bytes_versioned
from solders.transaction import VersionedTransaction

from bestex.paper.envelope import MalformedTransaction, open_envelope
from bestex.paper.programs.frame import SIGNER, WRITABLE
from bestex.venues.token import TOKEN_PROGRAM
from tests.support import paper
from tests.support.paper import STRANGER, WALLET, signed

BLOCKHASH = "EkSnNWid2cvwEVnVx9aBqawnmiCNiDgp3gUdkDPTKN1N"
ME, THEM = WALLET.pubkey(), STRANGER.pubkey()


def test_says_who_pays_who_signs_and_what_is_written() -> None:
    signature, raw = signed(
        BLOCKHASH, [paper.transfer_sol(THEM, ME, 5), paper.memo(b"hello"), paper.sync_native(paper.SOL)], STRANGER
    )
    envelope = open_envelope(raw)
    assert envelope.signature == signature
    assert envelope.payer == ME
    assert envelope.privileges[ME] == SIGNER | WRITABLE
    assert envelope.privileges[THEM] == SIGNER | WRITABLE
    assert envelope.privileges[paper.SOL] == WRITABLE
    assert envelope.privileges[paper.MEMO_PROGRAM] == 0
    assert set(envelope.writable) == {ME, THEM, paper.SOL}
    assert envelope.blockhash == bytes(Hash.from_string(BLOCKHASH))
    assert [step.program for step in envelope.steps] == [paper.SYSTEM_PROGRAM, paper.MEMO_PROGRAM, TOKEN_PROGRAM]
    assert envelope.steps[0].keys == (THEM, ME)
    assert envelope.refusal is None


def test_a_read_only_signer_is_not_writable() -> None:
    meta = AccountMeta(THEM, is_signer=True, is_writable=False)
    _, raw = signed(BLOCKHASH, [Instruction(paper.MEMO_PROGRAM, b"x", [meta])], STRANGER)
    assert open_envelope(raw).privileges[THEM] == SIGNER


def test_every_signature_must_be_right() -> None:
    _, raw = signed(BLOCKHASH, [paper.transfer_sol(THEM, ME, 5)], STRANGER)
    assert open_envelope(raw).is_signed()
    for at in (1, 65, 200, len(raw) - 5):
        damaged = bytearray(raw)
        damaged[at] ^= 1
        assert not open_envelope(bytes(damaged)).is_signed()
    assert not open_envelope(raw[:65] + bytes(64) + raw[129:]).is_signed()


def test_bytes_after_the_message_break_the_signature() -> None:
    _, raw = signed(BLOCKHASH, [paper.memo(b"x")])
    assert not open_envelope(raw + b"\0").is_signed()


def test_legacy_transactions_are_read_too() -> None:
    message = Message.new_with_blockhash([paper.transfer_sol(ME, THEM, 5)], ME, Hash.from_string(BLOCKHASH))
    signature = WALLET.sign_message(bytes(message))
    envelope = open_envelope(bytes(VersionedTransaction.populate(message, [signature])))
    assert envelope.is_signed()
    assert envelope.steps[0].keys == (ME, THEM)


@pytest.mark.parametrize("raw", [b"", b"\x01", bytes(200), b"\xff" * 300])
def test_other_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(MalformedTransaction):
        open_envelope(raw)


def test_more_than_1232_bytes_are_refused() -> None:
    _, raw = signed(BLOCKHASH, [paper.memo(bytes(1_060))])
    assert len(raw) == 1_232
    assert open_envelope(raw).refusal is None
    _, raw = signed(BLOCKHASH, [paper.memo(bytes(1_061))])
    with pytest.raises(MalformedTransaction, match="1233 bytes"):
        open_envelope(raw)


def test_an_account_may_be_named_only_once() -> None:
    message = MessageV0(MessageHeader(1, 0, 0), [ME, THEM, THEM], Hash.default(), [], [])
    refusal = open_envelope(b"\x01" + bytes(64) + to_bytes_versioned(message)).refusal
    assert refusal is not None
    assert refusal.name == "AccountLoadedTwice"


def test_lookup_tables_are_unknown_here() -> None:
    lookup = MessageAddressTableLookup(THEM, b"\x00", b"")
    step = CompiledInstruction(1, b"x", b"\x00\x02")
    message = MessageV0(MessageHeader(1, 0, 1), [ME, paper.MEMO_PROGRAM], Hash.default(), [step], [lookup])
    raw = b"\x01" + bytes(64) + to_bytes_versioned(message)
    refusal = open_envelope(raw).refusal
    assert refusal is not None
    assert refusal.name == "AddressLookupTableNotFound"


@pytest.mark.parametrize(
    ("limit", "price", "signers", "fee"),
    [
        (None, None, 1, 5_000),
        (None, None, 2, 10_000),
        (200_000, 0, 1, 5_000),
        (200_000, 1, 1, 5_001),
        (1_000_000, 1, 1, 5_001),
        (1_000_001, 1, 1, 5_002),
        (200_000, 50_000, 1, 15_000),
        (9_999_999, 1_000_000, 1, 1_405_000),
        (None, 1_000_000, 1, 205_000),
    ],
)
def test_fee(limit: int | None, price: int | None, signers: int, fee: int) -> None:
    """5000 lamports a signature, the price of the whole unit limit, rounded up; the limit is 1.4 million at most."""
    steps = [paper.transfer_sol(ME if signers == 1 else THEM, paper.SOL, 1)]
    if limit is not None:
        steps.append(paper.unit_limit(limit))
    if price is not None:
        steps.append(paper.unit_price(price))
    _, raw = signed(BLOCKHASH, steps, STRANGER)
    assert open_envelope(raw).fee_lamports == fee


@pytest.mark.parametrize(
    ("data", "name"),
    [(b"", "InvalidInstructionData"), (b"\x02\0\0", "InvalidInstructionData"), (b"\x09\0", "InvalidInstructionData")],
)
def test_a_malformed_budget_is_the_transactions_error(data: bytes, name: str) -> None:
    _, raw = signed(BLOCKHASH, [paper.memo(b"x"), Instruction(paper.COMPUTE_BUDGET, data, [])])
    refusal = open_envelope(raw).refusal
    assert refusal is not None
    assert (refusal.name, refusal.instruction_index, refusal.message) == ("InstructionError", 1, name)


def test_a_budget_given_twice() -> None:
    _, raw = signed(BLOCKHASH, [paper.unit_price(1), paper.memo(b"x"), paper.unit_price(1)])
    refusal = open_envelope(raw).refusal
    assert refusal is not None
    assert (refusal.name, refusal.instruction_index) == ("DuplicateInstruction", 2)
