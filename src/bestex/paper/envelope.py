"""A signed transaction as it arrives: read, measured, its signatures checked."""

from collections.abc import Mapping

import msgspec
from solders.message import MessageHeader
from solders.pubkey import Pubkey
from solders.signature import Signature as WireSignature
from solders.transaction import SanitizeError, VersionedTransaction

from bestex.errors import BestexError
from bestex.paper.programs import compute_budget
from bestex.paper.programs.compute_budget import BadBudget, Budget
from bestex.paper.programs.frame import SIGNER, WRITABLE
from bestex.ports import TransactionError
from bestex.solana.transaction import BASE_FEE_LAMPORTS, MAX_ACCOUNT_LOCKS, MAX_BYTES
from bestex.types import Signature

_SIGNATURE_BYTES = 64


class MalformedTransaction(BestexError):
    """The bytes are no transaction that a validator would look at."""

    code = "MALFORMED_TRANSACTION"


class Step(msgspec.Struct, frozen=True, gc=False):
    """One instruction."""

    program: Pubkey
    keys: tuple[Pubkey, ...]
    data: bytes


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A transaction, taken apart."""

    raw: bytes
    signature: Signature
    """The first one: the transaction's id."""
    signatures: tuple[WireSignature, ...]
    keys: tuple[Pubkey, ...]
    """All accounts. The first pays; those that must sign come first."""
    privileges: Mapping[Pubkey, int]
    """What the transaction may do with each account: bits of SIGNER and WRITABLE."""
    blockhash: bytes
    steps: tuple[Step, ...]
    budget: Budget
    refusal: TransactionError | None
    """Why no validator would execute it, as a simulation says it."""

    @property
    def writable(self) -> list[Pubkey]:
        """Every account that the transaction locks for writing."""
        return [key for key, privilege in self.privileges.items() if privilege & WRITABLE]

    @property
    def payer(self) -> Pubkey:
        """Who pays the fee."""
        return self.keys[0]

    @property
    def fee_lamports(self) -> int:
        """Due whether the transaction succeeds or fails."""
        return BASE_FEE_LAMPORTS * len(self.signatures) + self.budget.priority_fee_lamports

    def is_signed(self) -> bool:
        """Whether every required signature is that key's over this message."""
        message = self.raw[1 + _SIGNATURE_BYTES * len(self.signatures) :]
        return all(sig.verify(key, message) for sig, key in zip(self.signatures, self.keys, strict=False))


def open_envelope(raw: bytes) -> Envelope:
    """Read a transaction in wire format, legacy or v0. Raises MalformedTransaction."""
    if len(raw) > MAX_BYTES:
        raise MalformedTransaction(f"transaction has {len(raw)} bytes, the network takes {MAX_BYTES}")
    try:
        transaction = VersionedTransaction.from_bytes(raw)
        transaction.sanitize()
    except (ValueError, SanitizeError) as error:
        raise MalformedTransaction(f"not a transaction: {error}") from error
    signatures = tuple(transaction.signatures)
    message = transaction.message
    keys = tuple(message.account_keys)
    if not signatures or len(signatures) != message.header.num_required_signatures:
        raise MalformedTransaction("not a transaction: its signatures are not those that it asks for")
    looks_up = bool(getattr(message, "address_table_lookups", None))
    privileges = _privileges(message.header, keys)
    steps = tuple(
        Step(keys[step.program_id_index], tuple([keys[index] for index in step.accounts]), step.data)
        for step in ([] if looks_up else message.instructions)
    )
    budget, refusal = _budget(steps)
    if looks_up:
        refusal = TransactionError("AddressLookupTableNotFound", message="the paper cluster has no lookup tables")
    elif len(keys) > MAX_ACCOUNT_LOCKS:
        refusal = TransactionError("TooManyAccountLocks")
    elif len(privileges) < len(keys):
        refusal = TransactionError("AccountLoadedTwice")
    return Envelope(
        raw=raw,
        signature=Signature(str(signatures[0])),
        signatures=signatures,
        keys=keys,
        privileges=privileges,
        blockhash=bytes(message.recent_blockhash),
        steps=steps,
        budget=budget,
        refusal=refusal,
    )


def _privileges(header: MessageHeader, keys: tuple[Pubkey, ...]) -> dict[Pubkey, int]:
    signers, readonly = header.num_required_signatures, header.num_readonly_signed_accounts
    others, readonly_others = len(keys) - signers, header.num_readonly_unsigned_accounts
    flags = (
        [SIGNER | WRITABLE] * (signers - readonly)
        + [SIGNER] * readonly
        + [WRITABLE] * (others - readonly_others)
        + [0] * readonly_others
    )
    return dict(zip(keys, flags, strict=True))


def _budget(steps: tuple[Step, ...]) -> tuple[Budget, TransactionError | None]:
    at = [index for index, step in enumerate(steps) if step.program == compute_budget.PROGRAM_ID]
    try:
        return compute_budget.read_budget((steps[index].data for index in at), len(steps) - len(at)), None
    except BadBudget as error:
        index = at[int(str(error.context["index"]))]
        name = str(error.context["name"])
        if name == "DuplicateInstruction":
            refusal = TransactionError(name, instruction_index=index)
        else:
            program = str(compute_budget.PROGRAM_ID)
            refusal = TransactionError("InstructionError", index, program_id=program, message=name)
        return Budget(0, 0), refusal
