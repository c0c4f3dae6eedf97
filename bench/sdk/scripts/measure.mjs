// Answers `python -m bench sdk` over standard input and output, one JSON object a line: loads one venue's script beside
// this file, opens the pools that it is given, and times the vendor's functions on them. No network, no files but the
// packages.
//
//   node measure.mjs PACKAGES VENUE
//   {"op": "open", "pools": [...]}                              -> {"functions": [...]}
//   {"op": "answer", "pool", "swap", "function"}                -> {"in", "out"} or {"refused"}
//   {"op": "time", "what", "pool", "swap", "function", "asked", "count"} -> {"ns"}
import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";

const [packages, venue] = process.argv.slice(2);
const reply = (value) => process.stdout.write(JSON.stringify(value) + "\n");
// A package that prints (missing native code, a warning) must not end up between our lines.
for (const name of ["log", "info", "warn", "error", "debug"]) console[name] = () => {};

const { connect } = await import(new URL(`${venue}.mjs`, import.meta.url).href);
const sdk = await connect(createRequire(path.join(path.resolve(packages), "package.json")));
let opened = [];
let sink;

/** The recorded time in place of the machine's: DLMM.swapQuote reads the latter, and its fees depend on it. */
function at({ clock }) {
  const now = clock.unix_timestamp * 1000;
  Date.now = () => now;
}

/** Account bytes and keys as the packages take them, a decoded state, and the arguments of every swap. */
function open(pool) {
  const accounts = {};
  for (const [role, account] of Object.entries(pool.accounts)) {
    accounts[role] = {
      key: new sdk.PublicKey(account.pubkey),
      owner: new sdk.PublicKey(account.owner),
      lamports: account.lamports,
      data: Buffer.from(account.data, "base64"),
      executable: false,
      rentEpoch: 0,
    };
  }
  const raw = { accounts, clock: pool.clock };
  at(raw);
  const state = sdk.decode(raw);
  return { raw, state, swaps: pool.swaps.map((swap) => sdk.prepare(raw, swap, state)) };
}

function answer({ pool, swap, function: name }) {
  const { raw, state, swaps } = opened[pool];
  at(raw);
  const { quote, amounts } = sdk.functions[name];
  try {
    const [paid, received] = amounts(quote(state, swaps[swap]), swaps[swap]);
    return { in: paid.toString(), out: received.toString() };
  } catch (error) {
    return { refused: String(error.message ?? error).split("\n")[0] };
  }
}

/** Amounts for `count` calls, see `varied` in bench/sdk.py. */
function varied(amount, asked, count) {
  const spread = Math.max(1, Math.min(amount.divn(100).toNumber(), 2 ** 25));
  return Array.from({ length: count }, (_, i) => amount.subn((asked + i) % spread));
}

/** Nanoseconds of `count` calls; what they need is made before the clock runs. */
function time({ what, pool, swap, function: name, asked, count }) {
  const { raw, state, swaps } = opened[pool];
  const { decode } = sdk;
  const { quote } = sdk.functions[name];
  const input = { ...swaps[swap] };
  const amounts = varied(input.amount, asked, count);
  const fresh = what === "first quote" ? amounts.map(() => decode(raw)) : [];
  at(raw);
  const start = process.hrtime.bigint();
  if (what === "decode") for (let i = 0; i < count; i++) sink = decode(raw);
  else {
    for (let i = 0; i < count; i++) {
      input.amount = amounts[i];
      if (what === "further quotes") sink = quote(state, input);
      else sink = quote(what === "first quote" ? fresh[i] : decode(raw), input);
    }
  }
  return { ns: Number(process.hrtime.bigint() - start) };
}

const operations = {
  open: ({ pools }) => {
    opened = pools.map(open);
    return { functions: Object.keys(sdk.functions) };
  },
  answer,
  time,
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  try {
    reply(operations[request.op](request));
  } catch (error) {
    reply({ error: String(error.stack ?? error) });
  }
}
if (sink === null) reply({}); // keeps the results alive, so that no call can be left out
process.exit(0);
