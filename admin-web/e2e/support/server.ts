/** The real server in a folder of its own, and what tests do through its admin API. */

import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { createWriteStream, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const ROOT = new URL("../../..", import.meta.url).pathname;
export const PASSWORD = "correct horse battery";
const ADMIN_TOKEN = "token-of-the-tested-server";

/** One device of an inventory. */
export interface Row {
  readonly serial: string;
  readonly device_id: string;
  /** Without it one whose private half nobody has. */
  readonly public_key?: string;
  readonly manufacturer?: string;
  readonly model?: string;
  readonly site?: string;
}

interface Token {
  readonly row: number;
  readonly kind: string;
  readonly name: string;
  readonly revoked_at: string | null;
}

export class Server {
  readonly #folder = mkdtempSync(join(tmpdir(), "ks-admin-web-"));
  #child: ChildProcess | undefined;
  #port = "0";

  private constructor(readonly settings: Readonly<Record<string, string>>) {}

  static async start(settings: Record<string, string> = {}): Promise<Server> {
    const server = new Server(settings);
    await server.#serve();
    return server;
  }

  /** `localhost`, as browsers accept a session's cookie without TLS only there. */
  get url(): string {
    return `http://localhost:${this.#port}`;
  }

  async #serve(): Promise<void> {
    const log = createWriteStream(join(this.#folder, "server.log"), { flags: "a" });
    const child = spawn(join(ROOT, "target/debug/ks-server"), ["serve", "--stop-with-stdin"], {
      cwd: this.#folder,
      env: {
        HOST: "127.0.0.1",
        PORT: this.#port,
        ADMIN_TOKEN,
        DATABASE_URL: "file:./ks.sqlite",
        OVERLOAD_TARGET_MS: "0", // a slow machine is no overload: only a full queue is
        STORE_SYNCHRONOUS: "off",
        HEARTBEAT_INTERVAL_MS: "1000",
        ...this.settings,
      },
      stdio: ["pipe", "pipe", "pipe"],
    });
    child.stderr.pipe(log);
    this.#child = child;
    for await (const line of createInterface({ input: child.stdout })) {
      const port = /^listening on http:\/\/.*:(\d+)$/.exec(line)?.[1];
      if (port === undefined) throw new Error(`the server said ${line}; see ${this.#folder}`);
      this.#port = port;
      return;
    }
    throw new Error(`the server did not start; see ${this.#folder}`);
  }

  /** Ends the process at once; the database stays. */
  async kill(): Promise<void> {
    if (this.#child) await end(this.#child);
  }

  /** Starts it again, on the same port and database. */
  async startAgain(): Promise<void> {
    await this.#serve();
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** A call of the admin API with the server's own token. */
  async call<T = unknown>(method: string, path: string, body?: unknown, type = "application/json"): Promise<T> {
    if (body === undefined) return this.send(method, path, undefined, {});
    return this.send(method, path, typeof body === "string" ? body : JSON.stringify(body), { "content-type": type });
  }

  /** The same with headers of its own, such as `if-match`. */
  async send<T = unknown>(method: string, path: string, body: string | undefined, headers: Record<string, string>): Promise<T> {
    const response = await fetch(`http://127.0.0.1:${this.#port}/api${path}`, {
      method,
      headers: { authorization: `Bearer ${ADMIN_TOKEN}`, ...headers },
      ...(body === undefined ? {} : { body }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return (text === "" ? undefined : JSON.parse(text)) as T;
  }

  async makeUser(name: string, role: string): Promise<void> {
    await this.call("POST", "/users", { name, role, password: PASSWORD });
  }

  /** Ends all sessions of a user, as an expiry does. */
  async endSessions(name: string): Promise<void> {
    const { items } = await this.call<{ items: Token[] }>("GET", "/tokens?limit=1000");
    for (const { row } of items.filter((token) => token.kind === "SESSION" && token.name === name && !token.revoked_at)) {
      await this.call("DELETE", `/tokens/${row}`, {});
    }
  }

  /** Imports devices, which exist only in the inventory until one registers. */
  async import(rows: readonly Row[]): Promise<void> {
    const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
    const lines = rows.map(({ serial, device_id, public_key = publicKey(), manufacturer = "Acme", model = "KS-100", site = "north" }) =>
      [serial, device_id, public_key, manufacturer, model, site].map(quoted).join(","),
    );
    await this.call("POST", "/devices/import", ["serial,device_id,public_key,manufacturer,model,site", ...lines, ""].join("\n"), "text/csv");
  }

  /** Simulated devices that beat until the test ends, run by `ks-fleet` against this server. */
  beat(scenario: string, ...options: string[]): Beating {
    const child = spawn(
      join(ROOT, "target/debug/ks-fleet"),
      ["run", join(ROOT, "admin-web/e2e/scenarios", scenario), "--target", `http://127.0.0.1:${this.#port}`, ...options],
      { cwd: this.#folder, env: { PATH: process.env["PATH"], ADMIN_TOKEN }, stdio: ["ignore", "pipe", "pipe"] },
    );
    const log = createWriteStream(join(this.#folder, "fleet.log"));
    child.stdout.pipe(log);
    child.stderr.pipe(log);
    return new Beating(child);
  }
}

/** A run of simulated devices. */
export class Beating {
  constructor(readonly child: ChildProcess) {}

  get hasEnded(): boolean {
    return this.child.exitCode !== null;
  }

  async stop(): Promise<void> {
    await end(this.child);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await ended;
}

/** A public key as an inventory has it: of the curve, since the server takes no other. */
export function publicKey(key: KeyObject = generateKeyPairSync("ed25519").publicKey): string {
  const { x = "" } = key.export({ format: "jwk" });
  return Buffer.from(x, "base64url").toString("base64");
}
