"""Accounts and the Clock sysvar, from one answer of `getMultipleAccounts`: of one slot, whoever answers."""

import base64
import binascii
import struct

from solders.pubkey import Pubkey

from bestex.errors import ClusterUnavailable
from bestex.ports import AccountsAt
from bestex.solana.rpc_answers import AccountInfo, InContext
from bestex.types import Account, ChainClock

CLOCK_SYSVAR = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")

_CLOCK = struct.Struct("<QqQQq")
"""Slot, start of the epoch, epoch, epoch of the leader schedule, unix time; little-endian."""


def accounts_and_clock(answer: InContext[list[AccountInfo | None]], count: int) -> AccountsAt:
    """`count` accounts, of which the answer has one more: the clock, last. Raises ClusterUnavailable."""
    try:
        *found, clock = [_account(account) if account else None for account in answer.value] or [None]
        if clock is None or len(found) != count:
            raise ClusterUnavailable("getMultipleAccounts: not the accounts that were asked for")
        slot, _, epoch, _, unix_timestamp = _CLOCK.unpack_from(clock.data)
    except (ValueError, binascii.Error, struct.error) as error:
        raise ClusterUnavailable(f"getMultipleAccounts: an account that cannot be read: {error}") from error
    return AccountsAt(answer.context.slot, ChainClock(slot, unix_timestamp, epoch), found)


def _account(account: AccountInfo) -> Account:
    data, encoding = account.data
    if encoding != "base64":
        raise ValueError(f"its data is in {encoding}")
    return Account(Pubkey.from_string(account.owner), account.lamports, base64.b64decode(data))
