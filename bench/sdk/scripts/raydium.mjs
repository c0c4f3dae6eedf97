// What the three Raydium scripts share: the package itself, without a cluster behind it.
import { createRequire } from "node:module";

/** The package, its own number and key classes, and its client with a connection that refuses every call. */
export async function loadRaydium(require) {
  const name = "@raydium-io/raydium-sdk-v2";
  const sdk = require(name);
  const own = createRequire(require.resolve(name));
  const { PublicKey, Connection } = own("@solana/web3.js");
  const offline = async () => {
    throw new Error("no network in a benchmark");
  };
  const connection = new Connection("http://127.0.0.1:9", { fetch: offline });
  const raydium = await sdk.Raydium.load({ connection, disableLoadToken: true, disableFeatureCheck: true });
  return { sdk, BN: own("bn.js"), Decimal: own("decimal.js"), PublicKey, raydium };
}

/** A token as the package describes it. */
export function token(mint, program, decimals) {
  return {
    chainId: 101,
    address: mint.toBase58(),
    programId: program.toBase58(),
    logoURI: "",
    symbol: "",
    name: "",
    decimals,
    tags: [],
    extensions: {},
  };
}
