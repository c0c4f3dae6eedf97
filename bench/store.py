import argparse, asyncio, gc, sys, time, os, tempfile, shutil
import msgspec
import uvloop
from bestex.store.sqlite import SqliteStore
from bestex.orders.attempt import AttemptState
from bestex.ports import Change
from tests.support.orders import Life, attempt, keys, pending, NOW_MS


def script(n, first):
    out = {}
    for k in range(first, first + n):
        order, event = pending(k)
        order = msgspec.structs.replace(order, terms=msgspec.structs.replace(order.terms, client_order_id=f"c{k}"))
        life = Life(msgspec.structs.replace(order, lease_epoch=1))
        steps = []
        e = life.routed(); steps.append(Change(order=life.order, events=(e,)))
        e = life.built(); steps.append(Change(order=life.order, events=(e,)))
        a = attempt(life.order, last_valid_block_height=250_000_000 + k // 4000)
        e = life.submitted(); steps.append(Change(order=life.order, events=(e,), attempt=a))
        e1 = life.confirmed(); e2 = life.finalized()
        steps.append(Change(order=life.order, events=(e1, e2), attempt=msgspec.structs.replace(a, state=AttemptState.LANDED, slot=1)))
        out[order.id] = (order, event, keys(client_order_id=f"c{k}", request_hash="h" * 64), steps)
    return out

async def drive(store, work, concurrency):
    todo = iter(work.values())
    done = 0
    total = len(work)
    room = asyncio.Semaphore(concurrency)
    async def client():
        for order, event, ks, _ in todo:
            await room.acquire()
            await store.accept(order, event, ks)
            wake.set()
    wake = asyncio.Event()
    finished = asyncio.Event()
    lat = []
    async def execute(order):
        nonlocal done
        s = work[order.id][3]
        store.record(s[0]); store.record(s[1])
        await store.record(s[2])
        await store.record(s[3])
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
    d = tempfile.mkdtemp(dir=a.dir)
    batches = []
    store = SqliteStore(d + "/b.db", on_batch=lambda n, s: batches.append((n, s)), ckpt=a.ckpt, page=a.page, most=a.most)
    await store.open()
    n = 0
    while n < a.total:
        work = script(a.n, n); n += a.n
        gc.collect(); gc.freeze()
        batches.clear()
        c0=time.process_time(); t0=time.thread_time()
        el = await drive(store, work, a.concurrency)
        c1=time.process_time(); t1=time.thread_time()
        b = sorted(x for x, _ in batches); s = sorted(x for _, x in batches)
        print(f"{n:8} stored: {a.n/el:8.0f} orders/s; cpu {(c1-c0)/a.n*1e6:.0f} us/order (loop {(t1-t0)/a.n*1e6:.0f}) batches {len(b)} ops p50 {b[len(b)//2]} max {b[-1]}; ms p50 {s[len(s)//2]*1e3:.1f} p99 {s[int(len(s)*.99)]*1e3:.1f} max {s[-1]*1e3:.1f}; writer busy {sum(s)/el:.0%}", flush=True)
        gc.unfreeze()
    await store.close()
    print(os.path.getsize(d+"/b.db")>>20,'MB')
    shutil.rmtree(d)

def main(argv):
    p = argparse.ArgumentParser()
    p.add_argument("-n", type=int, default=20000); p.add_argument("--total", type=int, default=20000)
    p.add_argument("--concurrency", type=int, default=1000); p.add_argument("--ckpt", type=int, default=2000); p.add_argument("--page", type=int, default=8192)
    p.add_argument("--most", type=int, default=2000)
    p.add_argument("--dir", default=None)
    a = p.parse_args(argv)
    uvloop.run(amain(a))
    return 0
if __name__ == "__main__": sys.exit(main(sys.argv[1:]))
