"""Recorded instructions of the real programs, run by the paper cluster: same balances, same errors, same bytes."""

import base64

import pytest
from solders.pubkey import Pubkey

from bestex.errors import UnsupportedPool
from bestex.paper.programs import PROGRAMS
from bestex.paper.programs.frame import SIGNER, WRITABLE, Frame, InstructionFailed
from bestex.paper.state import Overlay, State
from bestex.types import Account, Mint
from bestex.venues.pool import Venue
from bestex.venues.token import decode_mint, decode_token_account, token_account
from tests.support.venues import GoldenPool, GoldenSwap, decode, golden

BALANCE = 9_000_000_000_000_000_000
CASES = [
    pytest.param(venue, swap, id=f"{venue}-{swap.pool}-{swap.mode}-{number}")
    for venue in Venue
    for number, swap in enumerate(golden(venue).swaps)
    if swap.ix is not None
]


def supported(venue: Venue, pool: GoldenPool) -> bool:
    try:
        decode(venue, pool.address, pool.loaded())
    except UnsupportedPool:
        return False
    return True


def user_accounts(pool: GoldenPool, swap: GoldenSwap, accounts: dict[Pubkey, Account]) -> dict[Pubkey, Mint]:
    """The user's token accounts of a recorded instruction, by their place in it: CPMM gives in and out, DLMM too."""
    assert swap.ix is not None
    keys = [Pubkey.from_string(meta.pubkey) for meta in swap.ix.accounts]
    (other,) = {pool.address_of(role) for role in pool.accounts if role.startswith("mint_")} - {swap.mint}
    return {keys[4]: swap.mint, keys[5]: other}


@pytest.mark.parametrize(("venue", "swap"), CASES)
def test_recorded_instruction(venue: Venue, swap: GoldenSwap) -> None:
    pool = golden(venue).pool(swap.pool)
    if not supported(venue, pool):
        pytest.skip("a pool that is refused rather than quoted")
    assert swap.ix is not None
    owner = Pubkey.from_string(golden(venue).user["pubkey"])
    accounts = pool.loaded()
    mine = user_accounts(pool, swap, accounts)
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
    program = PROGRAMS[Pubkey.from_string(swap.ix.program_id)]

    failed: InstructionFailed | None = None
    try:
        program.execute(frame, keys, bytes.fromhex(swap.ix.data))
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
