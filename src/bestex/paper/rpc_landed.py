"""`getTransaction`: a landed transaction, from what the ledger keeps of it."""

import base64
from collections.abc import Sequence

from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from bestex.paper.ledger import Found
from bestex.paper.rpc_params import Transactions, base58_encode
from bestex.paper.rpc_shapes import amount_json, error_json, result_json
from bestex.paper.rpc_wire import HISTORY_NOT_AVAILABLE, INVALID_PARAMS, UNSUPPORTED_VERSION, RpcError
from bestex.paper.state import State
from bestex.ports import TokenChange
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
    record, landed = found.record, found.record.landed(found.slot)
    places = {key: at for at, key in enumerate(keys)}
    moved = landed.lamport_changes

    def tokens(*, before: bool) -> list[dict[str, object]]:
        """Of accounts that existed then."""
        return [
            _token_json(state, change, change.before if before else change.after, places[change.account])
            for change in landed.token_changes
            if record.balances[places[change.account]] + (0 if before else moved.get(change.account, 0))
        ]

    return {
        "err": error_json(landed.error),
        "status": result_json(landed.error),
        "fee": landed.fee_lamports,
        "preBalances": record.balances,
        "postBalances": [before + moved.get(key, 0) for key, before in zip(keys, record.balances, strict=True)],
        "preTokenBalances": tokens(before=True),
        "postTokenBalances": tokens(before=False),
        "innerInstructions": [],
        "logMessages": landed.logs,
        "rewards": [],
        "loadedAddresses": {"writable": [], "readonly": []},
        "computeUnitsConsumed": landed.units_consumed,
    }


def _token_json(state: State, change: TokenChange, amount: int, place: int) -> dict[str, object]:
    mint = state.get(change.mint)
    return {
        "accountIndex": place,
        "mint": str(change.mint),
        "owner": str(change.owner),
        "programId": str(mint.owner if mint else TOKEN_PROGRAM),
        "uiTokenAmount": amount_json(amount, mint.data[_DECIMALS_AT] if mint else 0),
    }
