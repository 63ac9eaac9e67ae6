/** The pages as a static host would have them, built with the server's public key, in front of the same server. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { build, preview } from "vite";

import { ROOT } from "./server";

export interface Pages {
  readonly url: string;
  readonly stop: () => Promise<void>;
}

/** Builds and serves them; calls of the API and of the keyset go to the server. */
export async function pagesWith(publicKey: string, serverUrl: string): Promise<Pages> {
  const outDir = mkdtempSync(join(tmpdir(), "ks-admin-pages-"));
  const root = `${ROOT}admin-web`;
  const before = { ...process.env };
  Object.assign(process.env, { SERVER_PUBLIC_KEY_BASE64: publicKey, NODE_ENV: "production" });
  try {
    await build({ root, logLevel: "warn", build: { outDir, emptyOutDir: true } });
  } finally {
    delete process.env["SERVER_PUBLIC_KEY_BASE64"];
    Object.assign(process.env, before);
  }
  const target = serverUrl.replace("localhost", "127.0.0.1");
  const proxy = Object.fromEntries(["/api", "/keys"].map((path) => [path, { target, changeOrigin: false }]));
  const served = await preview({ root, logLevel: "warn", build: { outDir }, preview: { port: 0, host: "127.0.0.1", proxy } });
  const address = served.httpServer.address();
  if (address === null || typeof address === "string") throw new Error("the pages are not served");
  const stop = async () => {
    await served.close();
    rmSync(outDir, { recursive: true, force: true });
  };
  return { url: `http://localhost:${address.port}`, stop };
}

/** The key that signs the answers of a server: the only one of its first keyset. */
export async function publicKeyOf(serverUrl: string): Promise<string> {
  const keyset = await (await fetch(`${serverUrl.replace("localhost", "127.0.0.1")}/keys`)).text();
  const key = /,SIGNING,(\S+)$/m.exec(keyset)?.[1];
  if (key === undefined) throw new Error(`no key in ${keyset}`);
  return key;
}
