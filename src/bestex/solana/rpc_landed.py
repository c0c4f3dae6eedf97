"""A landed transaction, from what `getTransaction` tells of it."""

import base64
from collections.abc import Sequence

from solders.message import Message, MessageV0, MessageV1
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from bestex.errors import ClusterUnavailable
from bestex.ports import LandedTransaction, TokenChange
from bestex.solana.rpc_answers import Meta, TokenBalance, TransactionAnswer
from bestex.solana.rpc_errors import transaction_error
from bestex.types import Signature


def landed_transaction(signature: Signature, answer: TransactionAnswer) -> LandedTransaction:
    """The transaction. Raises ClusterUnavailable when the answer contradicts itself."""
    meta = answer.meta
    assert meta is not None, "asked for transactions whose outcome is known"
    loaded = meta.loaded_addresses
    logs = meta.log_messages or []
    try:
        message = _message(*answer.transaction)
        keys = message.account_keys
        if loaded is not None:
            keys += [Pubkey.from_string(name) for name in loaded.writable + loaded.readonly]
        # Where nothing failed, nobody asks which program did.
        programs = [str(keys[each.program_id_index]) for each in message.instructions] if meta.err is not None else ()
        return LandedTransaction(
            signature=signature,
            slot=answer.slot,
            error=transaction_error(meta.err, programs, logs),
            fee_lamports=meta.fee,
            units_consumed=meta.compute_units_consumed or 0,
            token_changes=_token_changes(meta, keys),
            lamport_changes={
                key: after - before
                for key, before, after in zip(keys, meta.pre_balances, meta.post_balances, strict=True)
                if after != before
            },
            logs=logs,
        )
    except (ValueError, IndexError) as error:
        raise ClusterUnavailable(f"getTransaction: an answer that contradicts itself: {error}") from error


def programs_of(transaction: bytes) -> list[str]:
    """The program of each instruction of a transaction in wire format; none for bytes that are no transaction."""
    try:
        message = VersionedTransaction.from_bytes(transaction).message
        return [str(message.account_keys[each.program_id_index]) for each in message.instructions]
    except (ValueError, IndexError):
        return []


def _message(text: str, encoding: str) -> Message | MessageV0 | MessageV1:
    """Raises ValueError for what is no transaction in base64."""
    if encoding != "base64":
        raise ValueError(f"the transaction is in {encoding}")
    return VersionedTransaction.from_bytes(base64.b64decode(text, validate=True)).message


def _token_changes(meta: Meta, keys: Sequence[Pubkey]) -> list[TokenChange]:
    """Of every token account of the transaction, by its place among the accounts; changed or not."""
    before = {each.account_index: each for each in meta.pre_token_balances or ()}
    after = {each.account_index: each for each in meta.post_token_balances or ()}
    return [_change(keys[at], before.get(at), after.get(at)) for at in sorted({*before, *after})]


def _change(account: Pubkey, before: TokenBalance | None, after: TokenBalance | None) -> TokenChange:
    known = after or before
    assert known is not None, "one of the two named the account"
    if known.owner is None:
        raise ValueError(f"no owner of token account {account}")
    return TokenChange(
        account=account,
        mint=Pubkey.from_string(known.mint),
        owner=Pubkey.from_string(known.owner),
        before=int(before.ui_token_amount.amount) if before else 0,
        after=int(after.ui_token_amount.amount) if after else 0,
    )
