"""Methods that read the chain: accounts, heights, blockhashes, and what the node is."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from solders.pubkey import Pubkey

from bestex import __version__
from bestex.errors import UnsupportedPool
from bestex.paper import rpc_params as params_of
from bestex.paper.chain import SLOTS_PER_EPOCH
from bestex.paper.rpc_node import Node
from bestex.paper.rpc_params import Accounts, Context, argument, options
from bestex.paper.rpc_shapes import (
    CLOCK_SYSVAR,
    account_json,
    amount_json,
    clock_account,
    epoch_json,
    program_account,
)
from bestex.paper.rpc_wire import API_VERSION, INVALID_PARAMS, RpcError, in_context
from bestex.ports import Height
from bestex.types import Account, Commitment, Slot
from bestex.venues.math import rent_exempt
from bestex.venues.token import decode_mint, decode_token_account

Method: TypeAlias = Callable[[Node, list[Any]], Awaitable[Any]]
"""Answers one method. Raises RpcError, ClusterUnavailable."""

_MAX_ACCOUNTS = 100


async def get_latest_blockhash(node: Node, params: list[Any]) -> object:
    wanted = options(params, 0, Context)
    found = await node.cluster.latest_blockhash(wanted.commitment)
    wanted.check(found.slot)
    return in_context(found.slot, {"blockhash": found.blockhash, "lastValidBlockHeight": found.last_valid_block_height})


async def is_blockhash_valid(node: Node, params: list[Any]) -> object:
    blockhash = params_of.blockhash(argument(params, 0, str))
    height = await _height(node, params, 1)
    return in_context(height.slot, node.cluster.validator.chain.accepts(bytes(blockhash), height.block_height))


async def get_block_height(node: Node, params: list[Any]) -> object:
    return (await _height(node, params, 0)).block_height


async def get_slot(node: Node, params: list[Any]) -> object:
    return (await _height(node, params, 0)).slot


async def get_epoch_info(node: Node, params: list[Any]) -> object:
    height = await _height(node, params, 0)
    return epoch_json(height.slot, height.block_height)


async def get_first_available_block(node: Node, _params: list[Any]) -> object:
    return (await node.cluster.oldest_block()).slot


async def get_account_info(node: Node, params: list[Any]) -> object:
    wanted = options(params, 1, Accounts)
    address = params_of.address(argument(params, 0, str))
    slot, (account,) = await _accounts(node, [address], wanted)
    return in_context(slot, account_json(address, account, wanted) if account else None)


async def get_multiple_accounts(node: Node, params: list[Any]) -> object:
    names = argument(params, 0, list[str])
    if len(names) > _MAX_ACCOUNTS:
        raise RpcError(INVALID_PARAMS, f"Too many inputs provided; max {_MAX_ACCOUNTS}")
    wanted = options(params, 1, Accounts)
    addresses = [params_of.address(name) for name in names]
    slot, found = await _accounts(node, addresses, wanted)
    return in_context(
        slot,
        [account_json(name, each, wanted) if each else None for name, each in zip(addresses, found, strict=True)],
    )


async def get_balance(node: Node, params: list[Any]) -> object:
    wanted = options(params, 1, Context)
    slot, (account,) = await _accounts(node, [params_of.address(argument(params, 0, str))], wanted)
    return in_context(slot, account.lamports if account else 0)


async def get_token_account_balance(node: Node, params: list[Any]) -> object:
    wanted = options(params, 1, Context)
    address = params_of.address(argument(params, 0, str))
    slot, (account,) = await _accounts(node, [address], wanted)
    if account is None:
        raise RpcError(INVALID_PARAMS, "Invalid param: could not find account")
    try:
        held = decode_token_account(account)
        _, (mint,) = await _accounts(node, [held.mint], wanted)
        if mint is None:
            raise RpcError(INVALID_PARAMS, "Invalid param: could not find mint")
        return in_context(slot, amount_json(held.amount, decode_mint(mint).decimals))
    except UnsupportedPool:
        raise RpcError(INVALID_PARAMS, "Invalid param: not a Token account") from None


async def get_minimum_balance_for_rent_exemption(_node: Node, params: list[Any]) -> object:
    size = argument(params, 0, int)
    if size < 0:
        raise RpcError(INVALID_PARAMS, "Invalid params: a size is not negative.")
    return rent_exempt(size)


async def get_health(node: Node, _params: list[Any]) -> object:
    node.cluster.validator.check()
    return "ok"


async def get_version(_node: Node, _params: list[Any]) -> object:
    return {"solana-core": API_VERSION, "feature-set": 0, "bestex-paper": {"simulated": True, "version": __version__}}


async def get_genesis_hash(node: Node, _params: list[Any]) -> object:
    return node.genesis_hash


async def get_epoch_schedule(_node: Node, _params: list[Any]) -> object:
    return {
        "slotsPerEpoch": SLOTS_PER_EPOCH,
        "leaderScheduleSlotOffset": SLOTS_PER_EPOCH,
        "warmup": False,
        "firstNormalEpoch": 0,
        "firstNormalSlot": 0,
    }


async def get_listing(node: Node, _params: list[Any]) -> object:
    """Not of Solana: what the paper market consists of, for workers on other machines."""
    listing = node.cluster.listing
    return {
        "simulated": True,
        "seed": listing.seed,
        "tokens": [
            {"symbol": each.symbol, "mint": str(each.mint), "decimals": each.decimals, "program": str(each.program)}
            for each in listing.tokens
        ],
        "pools": [each.address for each in listing.listed],
    }


async def _height(node: Node, params: list[Any], at: int) -> Height:
    wanted = options(params, at, Context)
    height = await node.cluster.height(wanted.commitment)
    wanted.check(height.slot)
    return height


async def _accounts(node: Node, addresses: Sequence[Pubkey], wanted: Context) -> tuple[Slot, list[Account | None]]:
    """Accounts as of one slot, the Clock sysvar and the cluster's programs among them."""
    answer = await node.cluster.accounts(addresses, Commitment(wanted.commitment))
    wanted.check(answer.slot)
    found = [
        clock_account(answer.clock) if name == CLOCK_SYSVAR else account or program_account(name)
        for name, account in zip(addresses, answer.accounts, strict=True)
    ]
    return answer.slot, found


METHODS: dict[str, Method] = {
    "getLatestBlockhash": get_latest_blockhash,
    "isBlockhashValid": is_blockhash_valid,
    "getBlockHeight": get_block_height,
    "getSlot": get_slot,
    "getEpochInfo": get_epoch_info,
    "getFirstAvailableBlock": get_first_available_block,
    "minimumLedgerSlot": get_first_available_block,
    "getEpochSchedule": get_epoch_schedule,
    "getAccountInfo": get_account_info,
    "getMultipleAccounts": get_multiple_accounts,
    "getBalance": get_balance,
    "getTokenAccountBalance": get_token_account_balance,
    "getMinimumBalanceForRentExemption": get_minimum_balance_for_rent_exemption,
    "getHealth": get_health,
    "getVersion": get_version,
    "getGenesisHash": get_genesis_hash,
    "bestex_getListing": get_listing,
}
