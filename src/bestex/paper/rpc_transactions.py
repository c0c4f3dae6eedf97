"""Methods about transactions: fees, simulation, sending, and what has become of them."""

from typing import Any

import msgspec

from bestex.paper import rpc_params as params_of
from bestex.paper.envelope import Envelope, MalformedTransaction, open_envelope
from bestex.paper.rpc_landed import landed_json
from bestex.paper.rpc_node import Node
from bestex.paper.rpc_params import Context, Sending, Simulating, Statuses, Transactions, argument, options
from bestex.paper.rpc_reading import Method
from bestex.paper.rpc_shapes import error_json, simulation_json, status_json
from bestex.paper.rpc_wire import (
    INVALID_PARAMS,
    PREFLIGHT_FAILURE,
    SIGNATURE_VERIFICATION_FAILURE,
    RpcError,
    in_context,
)
from bestex.ports import Simulation, TransactionError
from bestex.types import U64_MAX, Commitment

_MAX_FEE_ACCOUNTS = 128
_MAX_STATUSES = 256
_VERSIONED = 0x80
_SIGNATURE_BYTES = 64


async def get_recent_prioritization_fees(node: Node, params: list[Any]) -> object:
    names = options(params, 0, list[str])
    if len(names) > _MAX_FEE_ACCOUNTS:
        raise RpcError(INVALID_PARAMS, f"Too many inputs provided; max {_MAX_FEE_ACCOUNTS}")
    fees = await node.cluster.priority_fees([params_of.address(name) for name in names])
    # The history knows blocks in order, not their slots.
    first = node.cluster.validator.chain.head.slot - len(fees) + 1
    return [{"slot": max(0, first + at), "prioritizationFee": fee} for at, fee in enumerate(fees)]


async def get_fee_for_message(node: Node, params: list[Any]) -> object:
    message = params_of.binary(argument(params, 0, str), "base64")
    wanted = options(params, 1, Context)
    signers = message[1] if len(message) > 1 and message[0] & _VERSIONED else (message[0] if message else 0)
    if not 0 < signers < _VERSIONED:
        raise RpcError(INVALID_PARAMS, "Invalid params: not a message.")
    envelope = _open(bytes([signers]) + bytes(_SIGNATURE_BYTES * signers) + message)
    height = await node.cluster.height(wanted.commitment)
    wanted.check(height.slot)
    usable = node.cluster.validator.chain.accepts(envelope.blockhash, height.block_height)
    return in_context(height.slot, envelope.fee_lamports if usable else None)


async def simulate_transaction(node: Node, params: list[Any]) -> object:
    """Runs on the newest accounts whatever the commitment; the context says of which slot they are."""
    wanted = options(params, 1, Simulating)
    if wanted.sig_verify and wanted.replace_recent_blockhash:
        raise RpcError(INVALID_PARAMS, "sigVerify may not be used with replaceRecentBlockhash")
    if wanted.accounts is not None:
        raise RpcError(INVALID_PARAMS, "the paper cluster does not show accounts after a simulation")
    envelope = _open(params_of.binary(argument(params, 0, str), wanted.encoding))
    if wanted.sig_verify and not envelope.is_signed():
        raise RpcError(SIGNATURE_VERIFICATION_FAILURE, "Transaction signature verification failure")
    simulation = await _simulate(node, envelope, any_blockhash=wanted.replace_recent_blockhash)
    wanted.check(simulation.slot)
    value = simulation_json(simulation)
    if wanted.replace_recent_blockhash:
        latest = node.cluster.validator.chain.blockhash(Commitment.PROCESSED)
        value["replacementBlockhash"] = {
            "blockhash": latest.blockhash,
            "lastValidBlockHeight": latest.last_valid_block_height,
        }
    return in_context(simulation.slot, value)


async def send_transaction(node: Node, params: list[Any]) -> object:
    wanted = options(params, 1, Sending)
    envelope = _open(params_of.binary(argument(params, 0, str), wanted.encoding))
    if not wanted.skip_preflight:
        if not envelope.is_signed():
            raise RpcError(SIGNATURE_VERIFICATION_FAILURE, "Transaction signature verification failure")
        simulation = await _simulate(node, envelope, any_blockhash=False)
        Context(min_context_slot=wanted.min_context_slot).check(simulation.slot)
        if simulation.error is not None:
            raise RpcError(
                PREFLIGHT_FAILURE,
                f"Transaction simulation failed: {_in_words(simulation.error)}",
                simulation_json(simulation),
            )
    return await node.send(envelope)


async def get_signature_statuses(node: Node, params: list[Any]) -> object:
    names = argument(params, 0, list[str])
    if len(names) > _MAX_STATUSES:
        raise RpcError(INVALID_PARAMS, f"Too many inputs provided; max {_MAX_STATUSES}")
    wanted = options(params, 1, Statuses)
    signatures = [params_of.signature(name) for name in names]
    answer = await node.cluster.statuses(signatures, search_history=wanted.search_transaction_history)
    return in_context(answer.slot, [status_json(status, answer.slot) for status in answer.statuses])


async def get_transaction(node: Node, params: list[Any]) -> object:
    signature = params_of.signature(argument(params, 0, str))
    if len(params) > 1 and isinstance(params[1], str):
        params = [params[0], {"encoding": params[1]}]
    wanted = options(params, 1, Transactions)
    if wanted.commitment is Commitment.PROCESSED:
        raise RpcError(INVALID_PARAMS, "Method does not support commitment below `confirmed`")
    found = await node.cluster.find(signature, wanted.commitment)
    return landed_json(found, node.cluster.validator.chain.state, wanted) if found is not None else None


async def request_airdrop(node: Node, params: list[Any]) -> object:
    address = params_of.address(argument(params, 0, str))
    lamports = argument(params, 1, int)
    if not 0 < lamports <= U64_MAX:
        raise RpcError(INVALID_PARAMS, "Invalid params: lamports out of range.")
    raw = await node.airdrop(address, lamports, await node.newest_blockhash())
    envelope = open_envelope(raw)
    simulation = await _simulate(node, envelope, any_blockhash=False)
    if simulation.error is not None:
        raise RpcError(INVALID_PARAMS, f"airdrop refused: {_in_words(simulation.error)}")
    return await node.send(envelope)


async def fund_wallet(node: Node, params: list[Any]) -> object:
    """Not of Solana: SOL and tokens for a new wallet. The answer says whether it was new."""
    funded = await node.fund_wallet(params_of.address(argument(params, 0, str)))
    return {"simulated": True, "funded": funded}


async def _simulate(node: Node, envelope: Envelope, *, any_blockhash: bool) -> Simulation:
    """Run a transaction; without `any_blockhash`, as it stands: with its own blockhash, and once only."""
    simulation = await node.cluster.simulate_opened(envelope)
    chain = node.cluster.validator.chain
    error = None
    if not any_blockhash:
        if not chain.accepts(envelope.blockhash, chain.head.height + 1):
            error = TransactionError("BlockhashNotFound")
        elif chain.landing(envelope.signature) is not None:
            error = TransactionError("AlreadyProcessed")
    return Simulation(simulation.slot, error, 0, []) if error else simulation


def _in_words(error: TransactionError) -> str:
    if error.name == "InstructionError":
        reason = f"custom program error: {error.custom_code:#x}" if error.custom_code is not None else error.message
        return f"Error processing Instruction {error.instruction_index}: {reason}"
    return error.message or msgspec.json.encode(error_json(error)).decode().strip('"')


def _open(raw: bytes) -> Envelope:
    try:
        return open_envelope(raw)
    except MalformedTransaction as error:
        raise RpcError(INVALID_PARAMS, f"failed to deserialize transaction: {error.message}") from error


METHODS: dict[str, Method] = {
    "getRecentPrioritizationFees": get_recent_prioritization_fees,
    "getFeeForMessage": get_fee_for_message,
    "simulateTransaction": simulate_transaction,
    "sendTransaction": send_transaction,
    "getSignatureStatuses": get_signature_statuses,
    "getTransaction": get_transaction,
    "requestAirdrop": request_airdrop,
    "bestex_fundWallet": fund_wallet,
}
