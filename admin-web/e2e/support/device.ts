/** One device, as small as the protocol allows: a key, a register request, heartbeats. For tests that say exactly what it sends. */

import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";

import type { Server } from "./server";

export class Device {
  readonly #server: Server;
  readonly #privateKey: KeyObject;
  #seq = 0;
  /** In base64, as inventories have it. */
  readonly publicKey: string;

  constructor(server: Server, readonly id: string) {
    this.#server = server;
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    this.#privateKey = privateKey;
    this.publicKey = Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url").toString("base64");
  }

  /** Its line in an inventory. */
  get row(): string {
    return `S-${this.id},${this.id},${this.publicKey},Acme,KS-100,north\n`;
  }

  async register(otrt?: string): Promise<string> {
    const token = otrt === undefined ? "" : `otrt: "${otrt}"\n`;
    return this.#send("/register", "register", `public_key: "${this.publicKey}"\nfirmware_version: "1.4.2"\n${token}`);
  }

  /** A heartbeat that says which keyset the device holds. */
  async beat(keysetVersion: number): Promise<string> {
    const firmware = "firmware:\n  version: \"1.4.2\"\n  release_counter: 17\n";
    const vitals = "uptime_s: 60\ncpu_temp_c: 41.5\nfree_mem_kib: 118204\nnetwork: ethernet\n";
    return this.#send("/heartbeat", "heartbeat", `keyset_version: ${keysetVersion}\n${firmware}${vitals}`);
  }

  /** Sends a signed document; what the server answers, or an error with it. */
  async #send(path: string, type: string, fields: string): Promise<string> {
    this.#seq += 1;
    const head = `type: ${type}\ndevice_id: ${this.id}\nboot_epoch: 1\nseq: ${this.#seq}\nsent_at: "${new Date().toISOString()}"\n`;
    const body = `${head}${fields}`;
    const signature = sign(null, Buffer.from(`KS1 POST ${path}\n${body}`), this.#privateKey).toString("base64");
    const response = await fetch(`${this.#server.url.replace("localhost", "127.0.0.1")}${path}`, {
      method: "POST",
      headers: { "content-type": "text/toon; charset=utf-8" },
      body: `${body}SIG_DEV: ${signature}`,
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
    return text;
  }
}
