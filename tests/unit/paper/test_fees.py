"""The history of priority fees: per block, what would have locked all of the accounts."""

from solders.pubkey import Pubkey

from bestex.paper.fees import HISTORY_BLOCKS, FeeHistory

ONE, TWO, THREE = (Pubkey(bytes([byte]) * 32) for byte in (1, 2, 3))


def test_nothing_yet() -> None:
    assert FeeHistory().recent([ONE]) == []


def test_the_lowest_that_locked_an_account_was_enough() -> None:
    fees = FeeHistory()
    for price in (9, 4, 7):
        fees.record(1, price, [ONE])
    assert fees.recent([ONE]) == [4]


def test_the_dearest_account_decides() -> None:
    fees = FeeHistory()
    fees.record(1, 9, [ONE])
    fees.record(1, 4, [TWO])
    fees.record(2, 5, [TWO, THREE])
    assert fees.recent([ONE, TWO]) == [9, 5]
    assert fees.recent([THREE]) == [0, 5]


def test_remembers_only_recent_blocks() -> None:
    fees = FeeHistory()
    for height in range(100):
        fees.record(height, height, [ONE])
    assert fees.recent([ONE]) == list(range(100 - HISTORY_BLOCKS, 100))
