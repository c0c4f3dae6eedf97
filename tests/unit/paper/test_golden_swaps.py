"""Recorded instructions of the real programs, run by the paper cluster: same balances, same errors, same bytes."""

import base64
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from solders.pubkey import Pubkey

from bestex.paper.programs import swap as swaps
from bestex.paper.programs.frame import SIGNER, WRITABLE, Frame, InstructionFailed
from bestex.paper.state import Overlay, State
from bestex.types import Mint
from bestex.venues import raydium_amm_v4
from bestex.venues.pool import Venue
from bestex.venues.raydium_amm_v4 import Rounding
from bestex.venues.recording import RecordedPool, RecordedSwap
from bestex.venues.token import decode_mint, decode_token_account, token_account
from tests.support.venues import golden, program_of

BALANCE = 9_000_000_000_000_000_000
CASES = [
    pytest.param(venue, swap, id=f"{venue}-{swap.pool}-{swap.mode}-{number}")
    for venue in Venue
    for number, swap in enumerate(golden(venue).swaps)
    if swap.ix is not None
]
LEGACY_AMM = SimpleNamespace(
    **vars(raydium_amm_v4) | {"decode": partial(raydium_amm_v4.decode, rounding=Rounding.LEGACY)}
)
"""The build that was recorded; the paper cluster itself runs the newer one, which rounds otherwise."""


def user_accounts(venue: Venue, pool: RecordedPool, swap: RecordedSwap) -> dict[Pubkey, Mint]:
    """The user's token accounts of a recorded instruction, and their mints."""
    assert swap.ix is not None
    keys = tuple(Pubkey.from_string(meta.pubkey) for meta in swap.ix.accounts)
    user = program_of(venue).read_swap(keys, bytes.fromhex(swap.ix.data)).user
    (other,) = {pool.address_of(role) for role in pool.accounts if role.startswith("mint_")} - {swap.mint}
    return {user.source: swap.mint, user.destination: other}


@pytest.mark.parametrize(("venue", "swap"), CASES)
def test_recorded_instruction(venue: Venue, swap: RecordedSwap) -> None:
    pool = golden(venue).pool(swap.pool)
    assert swap.ix is not None
    owner = Pubkey.from_string(golden(venue).user.pubkey)
    accounts = pool.loaded()
    mine = user_accounts(venue, pool, swap)
    for address, mint in mine.items():
        info = decode_mint(accounts[mint])
        accounts[address] = token_account(
            mint, owner, BALANCE, info.program, withholds_fees=info.transfer_fee is not None
        )
    metas = {Pubkey.from_string(meta.pubkey): meta for meta in swap.ix.accounts}
    privileges = {key: SIGNER * meta.is_signer | WRITABLE * meta.is_writable for key, meta in metas.items()}
    overlay = Overlay(State(accounts))
    frame = Frame(overlay, swap.clock or pool.clock, privileges, 1_400_000, [])
    keys = tuple(Pubkey.from_string(meta.pubkey) for meta in swap.ix.accounts)
    program: Any = LEGACY_AMM if venue is Venue.RAYDIUM_AMM_V4 else program_of(venue)

    failed: InstructionFailed | None = None
    try:
        swaps.execute(program, frame, keys, bytes.fromhex(swap.ix.data))
    except InstructionFailed as error:
        failed = error

    if not swap.ok:
        assert failed is not None
        assert swap.error is not None
        assert failed.code == swap.error.custom
        return
    assert failed is None, failed.text
    source, destination = mine
    assert swap.amount_in is not None
    assert swap.amount_out is not None
    assert decode_token_account(frame.load(source)).amount == BALANCE - swap.amount_in
    assert decode_token_account(frame.load(destination)).amount == BALANCE + swap.amount_out
    for role, data in (swap.post_accounts or {}).items():
        assert frame.load(pool.address_of(role)).data.hex() == base64.b64decode(data).hex(), role
