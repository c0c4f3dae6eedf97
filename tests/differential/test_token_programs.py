"""Transfers through the real token programs, which LiteSVM brings along: our accounts, our fees, byte for byte."""

import struct
from functools import cache

from hypothesis import example, given, settings
from hypothesis import strategies as st
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from bestex.types import BPS, U64_MAX, ChainClock
from bestex.venues import token
from bestex.venues.token import TOKEN_2022_PROGRAM, TOKEN_PROGRAM, TransferFee, TransferFeeConfig
from tests.support.litesvm import Machine

MINT, SOURCE, TARGET, STRANGER = (Pubkey(bytes([byte]) * 32) for byte in (21, 22, 23, 24))
EPOCH = 9
_TRANSFER_CHECKED = 12

fees = st.builds(TransferFee, st.integers(0, 2 * EPOCH), st.integers(0, U64_MAX), st.integers(0, BPS))
amounts = st.integers(0, 10**4) | st.integers(0, U64_MAX // 2)


@cache
def machine() -> Machine:
    made = Machine()
    made.set_clock(ChainClock(slot=1_000, unix_timestamp=1_000_000, epoch=EPOCH))
    return made


def transfer(amount: int, decimals: int, program: Pubkey) -> Instruction:
    metas = [
        AccountMeta(SOURCE, False, True),
        AccountMeta(MINT, False, False),
        AccountMeta(TARGET, False, True),
        AccountMeta(machine().payer.pubkey(), True, False),
    ]
    return Instruction(program, struct.pack("<BQB", _TRANSFER_CHECKED, amount, decimals), metas)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(fees, fees, amounts, st.integers(0, 9))
@example(TransferFee(0, 777, BPS), TransferFee(EPOCH, 777, BPS), 10_000, 6)
def test_a_transfer_fee_is_what_token_2022_withholds(
    older: TransferFee, newer: TransferFee, amount: int, decimals: int
) -> None:
    config = TransferFeeConfig(older, newer)
    owner = machine().payer.pubkey()
    before = {
        MINT: token.mint_account(decimals, U64_MAX, TOKEN_2022_PROGRAM, config),
        SOURCE: token.token_account(MINT, owner, amount, TOKEN_2022_PROGRAM, withholds_fees=True),
        TARGET: token.token_account(MINT, STRANGER, 5, TOKEN_2022_PROGRAM, withholds_fees=True),
    }
    machine().put(before)
    outcome = machine().send([transfer(amount, decimals, TOKEN_2022_PROGRAM)])
    assert outcome.error is None, outcome.logs
    fee = config.at(EPOCH).on(amount)
    assert machine().get(SOURCE) == token.credit(before[SOURCE], -amount)
    assert machine().get(TARGET) == token.credit(before[TARGET], amount - fee, withheld=fee)
    assert machine().get(MINT) == before[MINT]


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.integers(0, BPS - 1), st.integers(0, U64_MAX), st.integers(0, U64_MAX // 4))
def test_what_is_to_be_delivered_arrives(fee_bps: int, maximum: int, wanted: int) -> None:
    fee = TransferFee(0, maximum, fee_bps)
    gross = wanted + fee.to_deliver(wanted)
    if gross > U64_MAX:
        return
    owner = machine().payer.pubkey()
    machine().put(
        {
            MINT: token.mint_account(6, U64_MAX, TOKEN_2022_PROGRAM, TransferFeeConfig(fee, fee)),
            SOURCE: token.token_account(MINT, owner, gross, TOKEN_2022_PROGRAM, withholds_fees=True),
            TARGET: token.token_account(MINT, STRANGER, 0, TOKEN_2022_PROGRAM, withholds_fees=True),
        }
    )
    outcome = machine().send([transfer(gross, 6, TOKEN_2022_PROGRAM)])
    assert outcome.error is None, outcome.logs
    assert token.decode_token_account(machine().get(TARGET)).amount == wanted


def test_plain_tokens_move_without_a_fee() -> None:
    owner = machine().payer.pubkey()
    for program in (TOKEN_PROGRAM, TOKEN_2022_PROGRAM):
        before = {
            MINT: token.mint_account(6, 10**9, program),
            SOURCE: token.token_account(MINT, owner, 1_000, program),
            TARGET: token.token_account(MINT, STRANGER, 0, program),
        }
        machine().put(before)
        assert machine().send([transfer(400, 6, program)]).error is None
        assert machine().get(SOURCE) == token.credit(before[SOURCE], -400)
        assert machine().get(TARGET) == token.credit(before[TARGET], 400)


def test_more_than_there_is() -> None:
    owner = machine().payer.pubkey()
    machine().put(
        {
            MINT: token.mint_account(6, 10**9),
            SOURCE: token.token_account(MINT, owner, 100),
            TARGET: token.token_account(MINT, STRANGER, 0),
        }
    )
    assert machine().send([transfer(101, 6, TOKEN_PROGRAM)]).custom == token.INSUFFICIENT_FUNDS
