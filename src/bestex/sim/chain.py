"""The chain under its own weather: leaders that skip, forks, lost transactions, pools that move.

One real paper cluster, whose slots are let pass from here. What it was after each slot is kept for a while, for
the nodes that are behind.
"""

from collections import defaultdict, deque
from typing import Self

import msgspec
from solders.pubkey import Pubkey

from bestex.paper.cluster import PaperCluster
from bestex.paper.envelope import open_envelope
from bestex.paper.network import NetworkProfile
from bestex.paper.running import InPlace
from bestex.paper.traders import Traders
from bestex.ports import Clock, LandedTransaction
from bestex.sim.chance import Chance
from bestex.sim.faults import Fault, Weather
from bestex.sim.lagging import Fees, Kept, Moment, Node, NodeBehind, Undone
from bestex.sim.trace import Trace
from bestex.types import BlockHeight, Commitment, Signature, Token

PROFILE = NetworkProfile(
    slot_s=0.8,
    confirmed_after_slots=1,
    finalized_after_slots=8,
    # Between 0 and 1, so that the validator asks its leaders.
    skip_probability=0.5,
    blockhash_max_age_blocks=20,
    status_cache_slots=40,
)
MOST_SLOTS_BEHIND = 60
"""Longer than a blockhash lives, unless most leaders skip."""
_DEEPEST_FORK = 6
_CHANCE_THAT_FORKED_WAIT = 0.5
"""That the transactions of a fork's blocks wait for another block; otherwise they are lost."""
_SLOTS_PER_TRADING = 4
"""Traders cost ten times what an idle slot does: they trade every now and then, as much as for all slots between, and
only while something that was sent may still land."""
_MARKETS = 4
"""As many as the market remembers between runs."""
_COMMITMENTS = tuple(Commitment)


class SimChain:
    """A paper cluster, and what befalls it. `run` lets its time pass."""

    def __init__(  # noqa: PLR0917 - what a run has, in its usual order
        self, cluster: PaperCluster, leaders: "_Leaders", chance: Chance, weather: Weather, trace: Trace, clock: Clock
    ) -> None:
        """See `open`."""
        self.cluster = cluster
        self._validator = cluster.validator
        self._leaders = leaders
        self._weather = weather
        self._trace = trace
        self._clock = clock
        self._draw = chance.stream("chain")
        self._sending = chance.stream("on the way to the leader")
        self._sent: dict[Signature, _Sent] = {}
        """What may still land, or be undone."""
        self._undone: defaultdict[Signature, list[Undone]] = defaultdict(list)
        self._kept: dict[int, Kept] = {}
        """By sequence number, from the last finalized commit on."""
        self._moments: deque[Moment] = deque(maxlen=MOST_SLOTS_BEHIND + 1)
        self._slots = 0
        """How many have passed."""
        self._fees = self._validator.fees = Fees()
        listing = msgspec.structs.replace(cluster.listing, seed=chance.seed)
        self._traders = Traders(listing, self._validator.chain.state, slot_s=PROFILE.slot_s * _SLOTS_PER_TRADING)
        self._keep_moment()

    @classmethod
    async def open(
        cls,
        chance: Chance,
        weather: Weather,
        trace: Trace,
        clock: Clock,
        *,
        wallet: Pubkey,
        pairs: frozenset[tuple[str, str]],
    ) -> Self:
        """A new chain in memory, with a market of these pairs. Its time is the clock's, which nobody can set back."""
        leaders = _Leaders()
        cluster = await PaperCluster.open(
            profile=PROFILE,
            clock=_SteadyClock(clock),
            entropy=leaders,
            path=None,
            seed=chance.seed % _MARKETS,
            wallet=wallet,
            pairs=pairs,
            traders=False,
            runner=InPlace(),
        )
        return cls(cluster, leaders, chance, weather, trace, clock)

    async def run(self) -> None:
        """Let slots pass until canceled."""
        next_at_s = self._clock.monotonic_s()
        while True:
            next_at_s += PROFILE.slot_s
            await self._clock.sleep(max(0.0, next_at_s - self._clock.monotonic_s()))
            await self.pass_slot()

    async def pass_slot(self) -> None:
        """Let one slot pass as the weather will have it."""
        self._slots += 1
        if self._weather.happens(Fault.FORK, self._draw):
            await self._fork(self._draw.randint(1, _DEEPEST_FORK), self._draw.random() < _CHANCE_THAT_FORKED_WAIT)
        self._leaders.skip = self._weather.happens(Fault.SKIPPED_SLOT, self._draw)
        if self._leaders.skip:
            self._trace.fault(Fault.SKIPPED_SLOT)
        trading = (
            self._sent and self._slots % _SLOTS_PER_TRADING == 0 and self._weather.weight(Fault.MOVING_POOLS) > 0.0
        )
        self._validator.traders = self._traders if trading else None
        if trading:
            self._trace.survived[Fault.MOVING_POOLS] += 1
        await self._validator.tick()
        self._follow_sent()
        self._keep_moment()

    async def send(self, transaction: bytes) -> None:
        """Hand a transaction to the leader, whom it may never reach. Raises MalformedTransaction."""
        envelope = open_envelope(transaction)
        signature = envelope.signature
        if self._weather.happens(Fault.DROPPED_TRANSACTION, self._sending):
            self._trace.fault(Fault.DROPPED_TRANSACTION, signature[:8])
            return
        self._validator.submit(envelope)
        chain = self._validator.chain
        landing = chain.landing(signature)
        expires_at = chain.head.height + PROFILE.blockhash_max_age_blocks
        self._sent[signature] = _Sent(expires_at, landing.seq if landing else None)

    def node(self, slots_behind: int) -> Node:
        """A node that is so many slots behind the chain, or as many as are known."""
        if slots_behind <= 0:
            return self.cluster
        return NodeBehind(self._validator, self._undone, self._moments[max(0, len(self._moments) - 1 - slots_behind)])

    async def history(self) -> list[LandedTransaction]:
        """Every transaction that is on the chain now, whatever its commitment, oldest first."""
        return await self.cluster.history()

    async def close(self) -> None:
        """Nothing of it is left. Cancel `run` first."""
        await self.cluster.close()

    @property
    def tokens(self) -> list[Token]:
        return self.cluster.tokens

    @property
    def pools(self) -> list[Pubkey]:
        return self.cluster.pools

    # --- after each slot ----------------------------------------------------------------------------------------------

    async def _fork(self, depth_blocks: int, keep_pending: bool) -> None:
        dropped = self._validator.chain.branch(depth_blocks)
        if not dropped:
            return
        first_seq = dropped[0].seq
        for signature in list(self._sent):
            found = await self._validator.find(signature, Commitment.PROCESSED)
            if found is not None and found.seq >= first_seq:
                self._undone[signature].append(Undone(self._slots, found))
        blocks = await self._validator.fork(depth_blocks, keep_pending=keep_pending)
        self._trace.fault(Fault.FORK, f"{blocks} blocks, transactions {'wait' if keep_pending else 'lost'}")

    def _follow_sent(self) -> None:
        """Note what has landed or was undone, and forget what is final or can never land."""
        chain = self._validator.chain
        final_seq = chain.reached(Commitment.FINALIZED).seq
        for signature, sent in list(self._sent.items()):
            landing = chain.landing(signature)
            seq = landing.seq if landing else None
            if seq != sent.seq:
                sent.seq = seq
                what = f"lands in slot {landing.slot}" if landing else "is undone"
                self._trace.note("chain", f"{signature[:8]} {what}" + (", fails" if landing and landing.error else ""))
            expired = landing is None and chain.head.height > sent.expires_at
            if expired or (seq is not None and seq <= final_seq):
                del self._sent[signature]

    def _keep_moment(self) -> None:
        chain, kept = self._validator.chain, self._kept
        head = chain.head
        if head.seq not in kept:
            kept[head.seq] = Kept(head, chain.blockhash(Commitment.PROCESSED), dict(chain.state.accounts))
        reached = {commitment: kept[chain.reached(commitment).seq] for commitment in _COMMITMENTS}
        final_seq = reached[Commitment.FINALIZED].commit.seq
        while (oldest := next(iter(kept))) < final_seq:
            del kept[oldest]
        self._moments.append(Moment(self._slots, reached, self._fees.copy()))


class _Sent(msgspec.Struct):
    """A transaction on its way, or on the chain and not final."""

    expires_at: BlockHeight
    """Above this height it can never land."""
    seq: int | None
    """Of the commit that holds it."""


class _Leaders:
    """The validator's chance. It asks for one thing only: whether the next leader skips its slot."""

    def __init__(self) -> None:
        self.skip = False

    def bytes(self, count: int) -> bytes:
        raise NotImplementedError(f"who wants {count} bytes?")

    def uniform(self, low: float, high: float) -> float:
        return low if self.skip else high


class _SteadyClock:
    """True time: a machine's clock before anybody set it back."""

    def __init__(self, machine: Clock) -> None:
        self._machine = machine
        self._began_ms = machine.now_ms() - round(machine.monotonic_s() * 1000)

    def now_ms(self) -> int:
        return self._began_ms + round(self.monotonic_s() * 1000)

    def monotonic_s(self) -> float:
        return self._machine.monotonic_s()

    async def sleep(self, seconds: float) -> None:
        await self._machine.sleep(seconds)
