"""How a node writes what it knows: accounts, errors, statuses, token amounts."""

import base64
import struct

from solders.pubkey import Pubkey

from bestex.paper.chain import SLOTS_PER_EPOCH
from bestex.paper.programs import PROGRAMS
from bestex.paper.rpc_params import Accounts, base58_encode
from bestex.paper.rpc_wire import INVALID_REQUEST, RpcError
from bestex.ports import SignatureStatus, Simulation, TransactionError
from bestex.types import U64_MAX, Account, ChainClock, Commitment, Slot
from bestex.venues.math import rent_exempt

CLOCK_SYSVAR = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")

_SYSVAR_OWNER = Pubkey.from_string("Sysvar1111111111111111111111111111111111111")
_LOADER = Pubkey.from_string("BPFLoaderUpgradeab1e11111111111111111111111")
_NATIVE_LOADER = Pubkey.from_string("NativeLoader1111111111111111111111111111111")
_CLOCK = struct.Struct("<QqQQq")
_MAX_BASE58_BYTES = 128


def clock_account(clock: ChainClock) -> Account:
    """The Clock sysvar: slot, start of the epoch, epoch, the leader schedule's epoch, now. The start is not kept."""
    data = _CLOCK.pack(clock.slot, clock.unix_timestamp, clock.epoch, clock.epoch + 1, clock.unix_timestamp)
    return Account(_SYSVAR_OWNER, rent_exempt(len(data)), data)


def program_account(address: Pubkey) -> Account | None:
    """A program that the cluster runs, as clients look for it; its code is not on the chain."""
    program = PROGRAMS.get(address)
    return Account(_NATIVE_LOADER if program.builtin else _LOADER, 1, b"") if program else None


def account_json(address: Pubkey, account: Account, wanted: Accounts) -> dict[str, object]:
    """An account. `base64+zstd` and `jsonParsed` fall back to base64, as nodes may. Raises RpcError."""
    data = account.data
    if wanted.data_slice is not None:
        start = max(0, wanted.data_slice.offset)
        data = data[start : start + max(0, wanted.data_slice.length)]
    if wanted.encoding == "base58":
        if len(data) > _MAX_BASE58_BYTES:
            raise RpcError(
                INVALID_REQUEST,
                "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding.",
            )
        encoded = [base58_encode(data), "base58"]
    else:
        encoded = [base64.b64encode(data).decode(), "base64"]
    return {
        "lamports": account.lamports,
        "data": encoded,
        "owner": str(account.owner),
        "executable": address in PROGRAMS,
        "rentEpoch": U64_MAX,
        "space": len(account.data),
    }


def error_json(error: TransactionError | None) -> object:
    """A transaction's error, as the runtime writes it."""
    if error is None:
        return None
    if error.name == "InstructionError":
        if error.custom_code is not None:
            return {"InstructionError": [error.instruction_index, {"Custom": error.custom_code}]}
        return {"InstructionError": [error.instruction_index, error.message.partition(":")[0]]}
    if error.name == "DuplicateInstruction":
        return {error.name: error.instruction_index}
    if error.name == "InsufficientFundsForRent":
        return {error.name: {"account_index": int(error.message.rpartition(" ")[2] or 0)}}
    return error.name


def result_json(error: TransactionError | None) -> dict[str, object]:
    """Success or failure."""
    return {"Ok": None} if error is None else {"Err": error_json(error)}


def status_json(status: SignatureStatus | None, head: Slot) -> dict[str, object] | None:
    """A transaction's status as seen from the newest slot."""
    if status is None:
        return None
    rooted = status.commitment is Commitment.FINALIZED
    return {
        "slot": status.slot,
        "confirmations": None if rooted else max(0, head - status.slot),
        "err": error_json(status.error),
        "status": result_json(status.error),
        "confirmationStatus": status.commitment,
    }


def simulation_json(simulation: Simulation) -> dict[str, object]:
    """How a transaction would run."""
    return {
        "err": error_json(simulation.error),
        "logs": simulation.logs,
        "accounts": None,
        "unitsConsumed": simulation.units_consumed,
        "returnData": None,
        "innerInstructions": None,
    }


def amount_json(amount: int, decimals: int) -> dict[str, object]:
    """A token amount: exact in base units, and for people."""
    written = shown = str(amount)
    if decimals:
        digits = written.zfill(decimals + 1)
        shown = f"{digits[:-decimals]}.{digits[-decimals:]}".rstrip("0").rstrip(".")
    return {"amount": written, "decimals": decimals, "uiAmount": amount / 10**decimals, "uiAmountString": shown}


def epoch_json(slot: Slot, block_height: int) -> dict[str, object]:
    """`getEpochInfo`."""
    return {
        "absoluteSlot": slot,
        "blockHeight": block_height,
        "epoch": slot // SLOTS_PER_EPOCH,
        "slotIndex": slot % SLOTS_PER_EPOCH,
        "slotsInEpoch": SLOTS_PER_EPOCH,
        "transactionCount": None,
    }
