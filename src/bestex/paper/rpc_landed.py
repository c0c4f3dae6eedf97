"""`getTransaction`: a landed transaction, from what the ledger keeps of it."""

import base64
from collections.abc import Sequence
from functools import lru_cache

from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from bestex.paper.ledger import Found
from bestex.paper.records import TransactionRecord
from bestex.paper.rpc_params import Transactions, base58_encode
from bestex.paper.rpc_shapes import amount_json, error_json, result_json
from bestex.paper.rpc_wire import HISTORY_NOT_AVAILABLE, INVALID_PARAMS, UNSUPPORTED_VERSION, RpcError
from bestex.paper.state import State
from bestex.venues.token import TOKEN_PROGRAM

_DECIMALS_AT = 44
_ENCODINGS = frozenset({"json", "base58", "base64"})


def landed_json(found: Found, state: State, wanted: Transactions) -> dict[str, object]:
    """A landed transaction; `state` knows its mints. Raises RpcError."""
    if wanted.encoding not in _ENCODINGS:
        raise RpcError(
            INVALID_PARAMS, f"unsupported encoding: {wanted.encoding}. Supported encodings: json, base58, base64"
        )
    raw = found.record.raw
    if not raw:
        raise RpcError(HISTORY_NOT_AVAILABLE, "Transaction history is not available from this node")
    parsed = VersionedTransaction.from_bytes(raw)
    version = parsed.version()
    if isinstance(version, int) and wanted.max_supported_transaction_version is None:
        raise RpcError(
            UNSUPPORTED_VERSION,
            f"Transaction version ({version}) is not supported by the requesting client. Please try the request again "
            f'with the following configuration parameter: "maxSupportedTransactionVersion": {version}',
        )
    answer: dict[str, object] = {
        "slot": found.slot,
        "blockTime": found.time_ms // 1000,
        "meta": _meta(found, state, parsed.message.account_keys),
        "transaction": _transaction(raw, parsed, wanted.encoding),
        "bestex-paper": {"simulated": True},
    }
    if wanted.max_supported_transaction_version is not None:
        answer["version"] = version if isinstance(version, int) else "legacy"
    return answer


def _transaction(raw: bytes, parsed: VersionedTransaction, encoding: str) -> object:
    if encoding != "json":
        return [base64.b64encode(raw).decode() if encoding == "base64" else base58_encode(raw), encoding]
    return {"signatures": [str(each) for each in parsed.signatures], "message": _message(parsed)}


def _message(parsed: VersionedTransaction) -> dict[str, object]:
    message = parsed.message
    header = message.header
    written: dict[str, object] = {
        "header": {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        },
        "accountKeys": [str(key) for key in message.account_keys],
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [
            {
                "programIdIndex": instruction.program_id_index,
                "accounts": list(instruction.accounts),
                "data": base58_encode(instruction.data),
                "stackHeight": None,
            }
            for instruction in message.instructions
        ],
    }
    if isinstance(parsed.version(), int):
        written["addressTableLookups"] = []
    return written


def _meta(found: Found, state: State, keys: Sequence[Pubkey]) -> dict[str, object]:
    record = found.record
    balances, moved = record.balances, dict(record.lamport_changes)
    names = [bytes(key) for key in keys]
    before, after = _tokens(record, state, {name: at for at, name in enumerate(names)}, moved)
    return {
        "err": error_json(record.error),
        "status": result_json(record.error),
        "fee": record.fee_lamports,
        "preBalances": balances,
        "postBalances": [held + moved.get(name, 0) for name, held in zip(names, balances, strict=True)],
        "preTokenBalances": before,
        "postTokenBalances": after,
        "innerInstructions": [],
        "logMessages": record.logs,
        "rewards": [],
        "loadedAddresses": {"writable": [], "readonly": []},
        "computeUnitsConsumed": record.units_consumed,
    }


def _tokens(
    record: TransactionRecord, state: State, places: dict[bytes, int], moved: dict[bytes, int]
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Token balances before and after, each of the accounts that existed then."""
    before: list[dict[str, object]] = []
    after: list[dict[str, object]] = []
    for account, mint, owner, held, holds in record.token_changes:
        place = places[account]
        lamports = record.balances[place]
        info = state.get(Pubkey(mint))
        decimals = info.data[_DECIMALS_AT] if info else 0
        told = {
            "accountIndex": place,
            "mint": _base58(mint),
            "owner": _base58(owner),
            "programId": str(info.owner if info else TOKEN_PROGRAM),
        }
        if lamports:
            before.append({**told, "uiTokenAmount": amount_json(held, decimals)})
        if lamports + moved.get(account, 0):
            after.append({**told, "uiTokenAmount": amount_json(holds, decimals)})
    return before, after


@lru_cache(maxsize=4_096)
def _base58(address: bytes) -> str:
    return str(Pubkey(address))
