"""Accounts and the Clock sysvar, from one answer of `getMultipleAccounts`: of one slot, whoever answers."""

import asyncio
import base64
import binascii
import struct
from collections.abc import Sequence
from functools import partial
from itertools import chain

from solders.pubkey import Pubkey

from bestex.errors import ClusterUnavailable
from bestex.ports import AccountsAt
from bestex.solana.rpc_answers import AccountInfo, InContext
from bestex.solana.rpc_calls import RpcCalls
from bestex.solana.rpc_gather import Gathering
from bestex.types import Account, ChainClock, Commitment

CLOCK_SYSVAR = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")

_PER_CALL = 99
"""A node gives 100 at once; one of them is the clock."""
_SAME_SLOT_TRIES = 8
_CLOCK = struct.Struct("<QqQQq")
"""Slot, start of the epoch, epoch, epoch of the leader schedule, unix time; little-endian."""


class Accounts:
    """`getMultipleAccounts`, for several readers in one call."""

    def __init__(self, calls: RpcCalls) -> None:
        self._calls = calls
        self._asking = {
            commitment: Gathering(partial(self._ask, commitment), most=_PER_CALL, size=len) for commitment in Commitment
        }

    async def close(self) -> None:
        """End what is being asked."""
        for asking in self._asking.values():
            await asking.close()

    async def of(self, addresses: Sequence[Pubkey], commitment: Commitment) -> AccountsAt:
        """As `Cluster.accounts`. More than 99 take several calls, until all answers are of the same slot."""
        chunks = [addresses[start : start + _PER_CALL] for start in range(0, max(1, len(addresses)), _PER_CALL)]
        for _ in range(_SAME_SLOT_TRIES):
            answers = await asyncio.gather(*map(self._asking[commitment].answer, chunks))
            if len({answer.slot for answer in answers}) == 1:
                found = [account for answer in answers for account in answer.accounts]
                return AccountsAt(answers[0].slot, answers[0].clock, found)
        raise ClusterUnavailable(f"{len(addresses)} accounts could not be read in one slot")

    async def _ask(self, commitment: Commitment, asked: list[Sequence[Pubkey]]) -> list[AccountsAt]:
        places = {address: at for at, address in enumerate(dict.fromkeys(chain.from_iterable(asked)))}
        names = [str(address) for address in (*places, CLOCK_SYSVAR)]
        answer = await self._calls.call(
            InContext[list[AccountInfo | None]],
            "getMultipleAccounts",
            names,
            {"encoding": "base64", "commitment": commitment},
        )
        read = accounts_and_clock(answer, len(places))
        return [
            AccountsAt(read.slot, read.clock, [read.accounts[places[address]] for address in addresses])
            for addresses in asked
        ]


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
