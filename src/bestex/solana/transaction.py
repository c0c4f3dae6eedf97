"""A versioned (v0) transaction: compiled, measured, signed.

Limits of the network: 1232 bytes on the wire, 64 account locks.
"""

from collections.abc import Callable, Sequence

import msgspec
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature as WireSignature

from bestex.solana.instructions import COMPUTE_BUDGET_PROGRAM, compute_unit_limit
from bestex.types import Signature

MAX_BYTES = 1232
MAX_ACCOUNT_LOCKS = 64
MAX_COMPUTE_UNITS = 1_400_000
BASE_FEE_LAMPORTS = 5_000
"""Per signature."""

_ONE_SIGNATURE = b"\x01"
_SIGNATURE_BYTES = 64
_HASH_BYTES = 32


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A compiled transaction of one signer, not signed yet. Its first instruction sets the compute unit limit."""

    message: bytes
    """In wire format."""
    account_locks: int

    @property
    def size_bytes(self) -> int:
        """On the wire, signature included."""
        return len(_ONE_SIGNATURE) + _SIGNATURE_BYTES + len(self.message)

    def unsigned(self) -> bytes:
        """Wire format with an empty signature: for simulation."""
        return _ONE_SIGNATURE + bytes(_SIGNATURE_BYTES) + self.message

    def with_compute_unit_limit(self, units: int) -> "Draft":
        """The same transaction with another limit; its size does not change."""
        limit = compute_unit_limit(units).data
        # version, header, number of keys; keys; blockhash; number of instructions; program, no accounts, size of data
        start = 5 + 32 * self.account_locks + 32 + 1 + 3
        return Draft(self.message[:start] + limit + self.message[start + len(limit) :], self.account_locks)

    def sign(self, sign: Callable[[bytes], bytes]) -> tuple[Signature, bytes]:
        """The signature in base58, and the signed transaction in wire format."""
        signature = sign(self.message)
        return Signature(str(WireSignature(signature))), _ONE_SIGNATURE + signature + self.message


def draft(payer: Pubkey, instructions: Sequence[Instruction], blockhash: str) -> Draft:
    """Compile instructions into a v0 message. The first must set the compute unit limit.

    Raises ValueError when the transaction exceeds the network's limits.
    """
    assert instructions[0].program_id == COMPUTE_BUDGET_PROGRAM
    message = MessageV0.try_compile(payer, list(instructions), [], Hash.from_string(blockhash))
    compiled = Draft(to_bytes_versioned(message), len(message.account_keys))
    if compiled.size_bytes > MAX_BYTES:
        raise ValueError(f"transaction has {compiled.size_bytes} bytes, the network takes {MAX_BYTES}")
    if compiled.account_locks > MAX_ACCOUNT_LOCKS:
        raise ValueError(f"transaction locks {compiled.account_locks} accounts, the network takes {MAX_ACCOUNT_LOCKS}")
    return compiled


def envelope_bytes() -> int:
    """What a transaction of one signer takes up beside its accounts' keys and its instructions."""
    version, header, counts, lookups = 1, 3, 2, 1
    return len(_ONE_SIGNATURE) + _SIGNATURE_BYTES + version + header + counts + _HASH_BYTES + lookups


def instruction_bytes(instruction: Instruction) -> int:
    """What an instruction takes up beside the keys of its accounts."""
    named, data = len(instruction.accounts), len(instruction.data)
    return 1 + _counted(named) + _counted(data)


def _counted(length: int) -> int:
    """So many bytes, with their number in front in the `compact-u16` format."""
    return length + (1 if length < 1 << 7 else 2)


def fee_lamports(compute_units: int, micro_lamports_per_unit: int) -> int:
    """Fee of a transaction of one signer: base fee, and the price of the whole compute unit limit, rounded up."""
    return BASE_FEE_LAMPORTS + -(-compute_units * micro_lamports_per_unit // 1_000_000)
