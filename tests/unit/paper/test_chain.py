"""What each commitment has reached, what it sees of the accounts, which blockhashes and signatures are known."""

import msgspec
import pytest
from solders.hash import Hash
from solders.pubkey import Pubkey

from bestex.paper.chain import Chain, Commit, Landing
from bestex.paper.network import INSTANT, NetworkProfile
from bestex.paper.state import Overlay, State
from bestex.types import Account, Commitment, Signature

ONE, TWO = Pubkey(bytes([1]) * 32), Pubkey(bytes([2]) * 32)
PROFILE = msgspec.structs.replace(INSTANT, confirmed_after_slots=2, finalized_after_slots=5)
PROCESSED, CONFIRMED, FINALIZED = Commitment


def commit(seq: int, slot: int | None = None, height: int | None = None, *, closes: bool = True) -> Commit:
    slot = seq if slot is None else slot
    return Commit(
        seq=seq,
        slot=slot,
        height=seq if height is None else height,
        time_ms=1_000 * seq,
        hash=bytes([seq % 256, seq // 256]) + bytes(30),
        closes=closes,
    )


def account(lamports: int) -> Account:
    return Account(ONE, lamports, b"")


def chain(profile: NetworkProfile = PROFILE) -> Chain:
    return Chain(profile, State({ONE: account(0)}), commit(0))


def extend(chain: Chain, new: Commit, writes: dict[Pubkey, Account | None] | None = None, *signatures: str) -> None:
    overlay = Overlay(chain.state)
    overlay.writes.update({ONE: account(new.seq)} if writes is None else writes)
    chain.publish(new, overlay, [(Signature(name), Landing(new.seq, new.slot, None)) for name in signatures])


def grown(blocks: int, profile: NetworkProfile = PROFILE) -> Chain:
    grown = chain(profile)
    for seq in range(1, blocks + 1):
        extend(grown, commit(seq), None, f"signature {seq}")
    return grown


def test_commitments_follow_the_head_by_slots() -> None:
    head = grown(10)
    assert [head.height(level).block_height for level in Commitment] == [10, 8, 5]
    assert [head.height(level).slot for level in Commitment] == [10, 8, 5]


def test_skipped_slots_count() -> None:
    head = grown(3)
    extend(head, commit(4, slot=8))
    assert [head.height(level).block_height for level in Commitment] == [4, 3, 3]


def test_a_young_chain_has_its_first_block_at_every_commitment() -> None:
    assert [chain().height(level).block_height for level in Commitment] == [0, 0, 0]


def test_every_commitment_sees_its_own_accounts() -> None:
    head = grown(10)
    extend(head, commit(11), {TWO: account(7)})
    extend(head, commit(12), {ONE: None})
    assert head.accounts([ONE, TWO], PROCESSED) == [None, account(7)]
    assert head.accounts([ONE, TWO], CONFIRMED) == [account(10), None]
    assert head.accounts([TWO, ONE], FINALIZED) == [None, account(7)]
    assert head.finalized_accounts() == {ONE: account(7)}


def test_statuses() -> None:
    head = grown(10)
    expected = {3: FINALIZED, 5: FINALIZED, 6: CONFIRMED, 8: CONFIRMED, 9: PROCESSED, 10: PROCESSED}
    for seq, level in expected.items():
        landing = head.landing(Signature(f"signature {seq}"))
        assert landing is not None
        status = head.status(landing)
        assert (status.slot, status.commitment, status.error) == (seq, level, None)
    assert head.landing(Signature("unknown")) is None


def test_a_blockhash_lives_for_150_blocks() -> None:
    head = grown(200)
    newest = head.blockhash(PROCESSED)
    assert (newest.last_valid_block_height, newest.slot) == (350, 200)
    assert newest.blockhash == str(Hash(head.head.hash))
    assert head.accepts(head.head.hash, 201)
    assert head.accepts(head.head.hash, 350)
    assert not head.accepts(head.head.hash, 351)
    assert head.accepts(commit(51).hash, 201)
    assert not head.accepts(commit(50).hash, 201)
    assert not head.accepts(bytes(32), 201)


def test_blocks_count_for_blockhashes_and_not_slots() -> None:
    head = chain()
    for seq in range(1, 101):
        extend(head, commit(seq, slot=10 * seq))
    assert head.accepts(commit(1).hash, 151)
    assert not head.accepts(commit(1).hash, 152)


def test_the_blockhash_of_a_commitment() -> None:
    head = grown(10)
    assert [head.blockhash(level).last_valid_block_height for level in Commitment] == [160, 158, 155]


def test_a_block_in_parts_has_a_hash_only_when_it_is_closed() -> None:
    head = chain(INSTANT)
    extend(head, commit(1, slot=1, height=1, closes=False), None, "a")
    assert head.height(FINALIZED).block_height == 1
    assert head.blockhash(FINALIZED).last_valid_block_height == 150
    assert not head.accepts(commit(1).hash, 1)
    landing = head.landing(Signature("a"))
    assert landing is not None
    assert head.status(landing).commitment is FINALIZED
    extend(head, commit(2, slot=1, height=1))
    assert head.blockhash(FINALIZED).last_valid_block_height == 151


def test_a_fork_takes_back_what_is_not_final() -> None:
    head = grown(10)
    dropped = head.branch(3)
    assert [each.seq for each in dropped] == [8, 9, 10]
    head.drop(8)
    assert head.head.seq == 7
    assert head.accounts([ONE], PROCESSED) == [account(7)]
    assert head.landing(Signature("signature 8")) is None
    assert head.landing(Signature("signature 7")) is not None
    assert not head.accepts(commit(8).hash, 8)
    assert [head.height(level).block_height for level in Commitment] == [7, 5, 5]


def test_a_fork_never_reaches_below_the_final_block() -> None:
    head = grown(10)
    assert [each.seq for each in head.branch(100)] == [6, 7, 8, 9, 10]
    head.drop(6)
    assert [head.height(level).block_height for level in Commitment] == [5, 5, 5]
    assert head.branch(100) == []
    extend(head, commit(11, slot=11, height=6))
    assert [head.height(level).block_height for level in Commitment] == [6, 5, 5]
    with pytest.raises(AssertionError):
        head.drop(5)


def test_what_was_final_stays_so_on_a_shorter_chain() -> None:
    head = grown(10)
    head.finalize(9)
    assert [head.height(level).block_height for level in Commitment] == [10, 9, 9]
    assert [each.seq for each in head.branch(100)] == [10]
    head.finalize(3)
    assert head.height(FINALIZED).block_height == 9


def test_nothing_is_dropped_where_everything_is_final() -> None:
    assert grown(10, INSTANT).branch(5) == []


def test_a_fork_into_an_open_block_finds_the_last_whole_one() -> None:
    head = grown(4)
    extend(head, commit(5, slot=5, height=5, closes=False))
    extend(head, commit(6, slot=5, height=5))
    head.drop(6)
    assert head.blockhash(PROCESSED).slot == 4


def test_what_is_old_is_forgotten() -> None:
    profile = msgspec.structs.replace(PROFILE, status_cache_slots=20, blockhash_max_age_blocks=10)
    head = grown(100, profile)
    assert head.oldest.seq == 80
    assert head.landing(Signature("signature 79")) is None
    assert head.landing(Signature("signature 80")) is not None
    assert not head.accepts(commit(79).hash, 1)


def test_valid_blockhashes_are_never_forgotten() -> None:
    profile = msgspec.structs.replace(PROFILE, status_cache_slots=20, blockhash_max_age_blocks=30)
    head = grown(100, profile)
    assert head.accepts(commit(71).hash, 101)
    assert head.landing(Signature("signature 71")) is not None


def test_the_clock_of_a_block() -> None:
    clock = commit(3, slot=432_000 * 2 + 5).clock
    assert (clock.slot, clock.unix_timestamp, clock.epoch) == (864_005, 3, 2)
