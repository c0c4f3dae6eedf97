"""`getTransaction`: a landed transaction, with its message where the node has seen it."""

import base64
from collections import OrderedDict
from collections.abc import Sequence

from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from bestex.paper.cluster import PaperCluster
from bestex.paper.rpc_params import Transactions, base58_encode
from bestex.paper.rpc_shapes import amount_json, error_json, result_json
from bestex.paper.rpc_wire import HISTORY_NOT_AVAILABLE, INVALID_PARAMS, UNSUPPORTED_VERSION, RpcError
from bestex.ports import LandedTransaction, TokenChange
from bestex.types import Signature
from bestex.venues.token import TOKEN_PROGRAM

_MAX_KEPT = 50_000
_DECIMALS_AT = 44
_ENCODINGS = frozenset({"json", "base58", "base64"})


class Messages:
    """The newest transactions that came through this node, by signature; the ledger keeps what they did, not them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Signature, bytes] = OrderedDict()

    def keep(self, signature: Signature, raw: bytes) -> None:
        self._kept[signature] = raw
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)

    def get(self, signature: Signature) -> bytes | None:
        return self._kept.get(signature)


def landed_json(
    cluster: PaperCluster, landed: LandedTransaction, raw: bytes | None, wanted: Transactions
) -> dict[str, object]:
    """A landed transaction.

    Token balances, and each account's lamports after minus before, are exact; the lamports themselves are those of now,
    as the ledger keeps changes. Without `raw` the message names the accounts that changed and nothing else; a field
    `bestex-paper` says so. Raises RpcError.
    """
    if wanted.encoding not in _ENCODINGS:
        raise RpcError(
            INVALID_PARAMS, f"unsupported encoding: {wanted.encoding}. Supported encodings: json, base58, base64"
        )
    parsed = VersionedTransaction.from_bytes(raw) if raw is not None else None
    version = parsed.version() if parsed is not None else None
    if version is not None and version.__class__ is int and wanted.max_supported_transaction_version is None:
        raise RpcError(
            UNSUPPORTED_VERSION,
            f"Transaction version ({version}) is not supported by the requesting client. Please try the request again "
            f'with the following configuration parameter: "maxSupportedTransactionVersion": {version}',
        )
    keys = list(parsed.message.account_keys) if parsed is not None else _changed(landed)
    answer: dict[str, object] = {
        "slot": landed.slot,
        "blockTime": None,
        "version": version if isinstance(version, int) else "legacy",
        "meta": _meta(cluster, landed, keys),
        "transaction": _transaction(landed, raw, parsed, keys, wanted.encoding),
        "bestex-paper": {"simulated": True, "partial": raw is None},
    }
    if wanted.max_supported_transaction_version is None:
        del answer["version"]
    return answer


def _changed(landed: LandedTransaction) -> list[Pubkey]:
    return list(dict.fromkeys([*landed.lamport_changes, *(change.account for change in landed.token_changes)]))


def _transaction(
    landed: LandedTransaction,
    raw: bytes | None,
    parsed: VersionedTransaction | None,
    keys: Sequence[Pubkey],
    encoding: str,
) -> object:
    if encoding != "json":
        if raw is None:
            raise RpcError(HISTORY_NOT_AVAILABLE, "Transaction history is not available from this node")
        return [base64.b64encode(raw).decode() if encoding == "base64" else base58_encode(raw), encoding]
    if parsed is None:
        signatures, message = [landed.signature], _message_of(keys)
    else:
        signatures, message = [Signature(str(each)) for each in parsed.signatures], _message(parsed)
    return {"signatures": signatures, "message": message}


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


def _message_of(keys: Sequence[Pubkey]) -> dict[str, object]:
    return {
        "header": {"numRequiredSignatures": 1, "numReadonlySignedAccounts": 0, "numReadonlyUnsignedAccounts": 0},
        "accountKeys": [str(key) for key in keys],
        "recentBlockhash": str(Pubkey.default()),
        "instructions": [],
    }


def _meta(cluster: PaperCluster, landed: LandedTransaction, keys: Sequence[Pubkey]) -> dict[str, object]:
    before, after = _lamports(cluster, landed, keys)
    return {
        "err": error_json(landed.error),
        "status": result_json(landed.error),
        "fee": landed.fee_lamports,
        "preBalances": before,
        "postBalances": after,
        "preTokenBalances": [
            _token_json(cluster, change, change.before, keys)
            for change in landed.token_changes
            if change.before or landed.lamport_changes.get(change.account, 0) <= 0
        ],
        "postTokenBalances": [
            _token_json(cluster, change, change.after, keys)
            for change in landed.token_changes
            if change.after or landed.lamport_changes.get(change.account, 0) >= 0
        ],
        "innerInstructions": [],
        "logMessages": landed.logs,
        "rewards": [],
        "loadedAddresses": {"writable": [], "readonly": []},
        "computeUnitsConsumed": landed.units_consumed,
    }


def _lamports(cluster: PaperCluster, landed: LandedTransaction, keys: Sequence[Pubkey]) -> tuple[list[int], list[int]]:
    """Lamports before and after, in the order of the keys."""
    state = cluster.validator.chain.state
    before, after = [], []
    for key in keys:
        account = state.get(key)
        change = landed.lamport_changes.get(key, 0)
        # An account that has been emptied since must still have held what it gained.
        after.append(max(account.lamports if account else 0, change))
        before.append(after[-1] - change)
    return before, after


def _token_json(cluster: PaperCluster, change: TokenChange, amount: int, keys: Sequence[Pubkey]) -> dict[str, object]:
    state = cluster.validator.chain.state
    mint, account = state.get(change.mint), state.get(change.account)
    return {
        "accountIndex": keys.index(change.account),
        "mint": str(change.mint),
        "owner": str(change.owner),
        "programId": str(account.owner if account else TOKEN_PROGRAM),
        "uiTokenAmount": amount_json(amount, mint.data[_DECIMALS_AT] if mint else 0),
    }
