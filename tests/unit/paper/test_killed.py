"""A process that is killed at any moment leaves a chain that goes on where it was last seen."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bestex.types import Commitment, Signature
from tests.support import paper

ROOT = Path(__file__).parents[3]

# What is printed is visible, and so it must be durable.
CHILD = """
import asyncio, sys
from pathlib import Path
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import INSTANT
from tests.support import paper
from tests.support.entropy import SeededEntropy

class Clock:
    def now_ms(self): return 1_790_000_000_000
    def monotonic_s(self): return asyncio.get_running_loop().time()
    async def sleep(self, seconds): await asyncio.sleep(seconds)

async def main():
    cluster = await PaperCluster.open(
        profile=INSTANT, clock=Clock(), entropy=SeededEntropy(), path=Path(sys.argv[1]), seed=1,
        wallet=paper.WALLET.pubkey(),
    )
    running = asyncio.create_task(cluster.run())
    client = paper.Client(cluster)
    number = cluster.validator.chain.head.seq * 1000
    while True:
        sent = []
        for _ in range(5):
            number += 1
            transfer = paper.transfer_sol(paper.WALLET.pubkey(), paper.STRANGER.pubkey(), 1_000_000 + number)
            sent.append(await client.send(transfer))
        await asyncio.gather(*(cluster.wait_landing(signature, 10.0) for signature in sent))
        print("\\n".join(sent), flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("seed", range(3))
def test_a_killed_process_loses_nothing_that_it_showed(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "paper.db"
    chance = random.Random(seed)
    shown: list[Signature] = []
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            shown.append(Signature(child.stdout.readline().strip()))
            time.sleep(chance.uniform(0.0, 0.3))
            os.kill(child.pid, signal.SIGKILL)
            shown += [Signature(line.strip()) for line in child.stdout if line.endswith("\n")]
    asyncio.run(_check(path, shown))


async def _check(path: Path, shown: list[Signature]) -> None:
    cluster = await paper.paper(path=path)
    history = await cluster.history()
    landed = {transaction.signature for transaction in history}
    assert len(landed) == len(history)
    assert set(shown) <= landed
    received = sum(transaction.lamport_changes[paper.STRANGER.pubkey()] for transaction in history)
    assert paper.lamports(cluster, paper.STRANGER.pubkey()) == received
    answer = await cluster.statuses(shown[:256], search_history=True)
    assert all(status and status.commitment is Commitment.FINALIZED for status in answer.statuses)
    await cluster.close()
