import argparse, asyncio, gc, sys, time, os, tempfile, shutil, secrets
import msgspec
import uvloop
from bestex.store.sqlite import SqliteStore
from bestex.orders.attempt import AttemptState
from bestex.orders.order import new_order_id
from bestex.ports import Change
from tests.support.orders import Life, attempt, keys, pending, NOW_MS
replace = msgspec.structs.replace

class Script:
    """What an engine would write for an order: made from one that was lived through."""
    def __init__(self):
        self.order, self.accepted = pending(0, client_order_id="x")
        life = Life(replace(self.order, lease_epoch=1))
        self.steps = []
        def step(*events, attempt=None):
            self.steps.append((life.order, events, attempt))
        step(life.routed()); step(life.built())
        a = attempt(life.order)
        step(life.submitted(), attempt=a)
        step(life.confirmed(), life.finalized(), attempt=replace(a, state=AttemptState.LANDED, slot=250_000_003))
    def new(self, n):
        oid = new_order_id(NOW_MS + n // 10, secrets.token_bytes(10))
        k = secrets.token_hex(16)
        order = replace(self.order, id=oid, terms=replace(self.order.terms, client_order_id=k))
        return order, replace(self.accepted, order_id=oid, client_order_id=k), keys(client_order_id=k, request_hash="0" * 64)
    def change(self, i, claimed, n, signature):
        after, events, attempt = self.steps[i]
        oid = claimed.id
        if attempt is not None:
            attempt = replace(attempt, order_id=oid, signature=signature, last_valid_block_height=250_000_000 + n // 4000)
        order = replace(after, id=oid, terms=claimed.terms, lease_owner=claimed.lease_owner, lease_until_ms=claimed.lease_until_ms)
        return Change(order=order, events=tuple([replace(e, order_id=oid) for e in events]), attempt=attempt)

async def drive(store, first, total, concurrency):
    script = Script()
    todo = iter(range(first, first + total))
    done = 0
    room = asyncio.Semaphore(concurrency)
    async def client():
        for n in todo:
            await room.acquire()
            await store.accept(*script.new(n))
            wake.set()
    wake = asyncio.Event()
    finished = asyncio.Event()
    started = first
    async def execute(order):
        nonlocal done, started
        n = started = started + 1
        sig = secrets.token_hex(44)
        store.record(script.change(0, order, n, sig)); store.record(script.change(1, order, n, sig))
        await store.record(script.change(2, order, n, sig))
        await store.record(script.change(3, order, n, sig))
        done += 1; room.release()
        if done == total: finished.set()
    async def worker():
        while done < total:
            await wake.wait(); wake.clear()
            while True:
                c = (await store.claim("w", limit=500, now_ms=NOW_MS * 2, lease_ms=30000, rate=None)).claims
                if not c: break
                for x in c: t = asyncio.create_task(execute(x.order)); tasks.add(t); t.add_done_callback(tasks.discard)
    tasks = set()
    t = time.perf_counter()
    cl = [asyncio.create_task(client()) for _ in range(concurrency)]
    w = asyncio.create_task(worker())
    await finished.wait()
    el = time.perf_counter() - t
    w.cancel()
    for x in cl: await x
    return el

async def amain(a):
    if a.gc: gc.set_threshold(a.gc, 50, 100)
    if a.switch: sys.setswitchinterval(a.switch)
    d = tempfile.mkdtemp(dir=a.dir)
    batches = []
    store = SqliteStore(d + "/b.db", on_batch=lambda n, s: batches.append((n, s)), ckpt=a.ckpt, page=a.page, most=a.most)
    await store.open()
    n = 0
    while n < a.total:
        batches.clear()
        c0=time.process_time(); t0=time.thread_time()
        el = await drive(store, n, a.n, a.concurrency)
        n += a.n
        c1=time.process_time(); t1=time.thread_time()
        b = sorted(x for x, _ in batches); s = sorted(x for _, x in batches)
        print(f"{n:8} stored: {a.n/el:8.0f} orders/s; cpu {(c1-c0)/a.n*1e6:.0f} us/order (loop {(t1-t0)/a.n*1e6:.0f}) batches {len(b)} ops p50 {b[len(b)//2]} max {b[-1]}; ms p50 {s[len(s)//2]*1e3:.1f} p99 {s[int(len(s)*.99)]*1e3:.1f} max {s[-1]*1e3:.1f}; writer busy {sum(s)/el:.0%}", flush=True)
    await store.close()
    print(os.path.getsize(d+"/b.db")>>20,'MB')
    shutil.rmtree(d)

def main(argv):
    p = argparse.ArgumentParser()
    p.add_argument("-n", type=int, default=20000); p.add_argument("--total", type=int, default=20000)
    p.add_argument("--concurrency", type=int, default=1000); p.add_argument("--ckpt", type=int, default=2000); p.add_argument("--page", type=int, default=8192)
    p.add_argument("--most", type=int, default=2000)
    p.add_argument("--gc", type=int, default=0); p.add_argument("--switch", type=float, default=0.0005)
    p.add_argument("--dir", default=None)
    a = p.parse_args(argv)
    uvloop.run(amain(a))
    return 0
if __name__ == "__main__": sys.exit(main(sys.argv[1:]))
