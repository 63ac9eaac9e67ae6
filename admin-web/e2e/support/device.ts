/** A device that sends exactly what a test gives it, such as texts that no simulated device writes (docs/protocol.md). */

import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";

import { publicKey, type Row, type Server } from "./server";

/** A text as a document has it. */
const quoted = (text: string) => JSON.stringify(text);

/** What a heartbeat says, as far as tests vary it. */
interface Beat {
  readonly firmwareVersion?: string;
  readonly keysetVersion?: number;
  readonly acks?: readonly { command_id: string; state: string; detail: string }[];
}

export class TestDevice {
  readonly #key: KeyObject;
  #seq = 0;
  /** In base64, as inventories have it. */
  readonly publicKey: string;

  constructor(
    readonly server: Server,
    readonly deviceId: string,
  ) {
    const keys = generateKeyPairSync("ed25519");
    this.#key = keys.privateKey;
    this.publicKey = publicKey(keys.publicKey);
  }

  /** Imports and registers a device. */
  static async registered(server: Server, row: Omit<Row, "public_key">, firmwareVersion = "1.0"): Promise<TestDevice> {
    const device = new TestDevice(server, row.device_id);
    await server.import([{ ...row, public_key: device.publicKey }]);
    await device.registers({ firmwareVersion });
    return device;
  }

  /** Its line in an inventory that has no more columns than it must have. */
  get line(): string {
    return `S-${this.deviceId},${this.deviceId},${this.publicKey},Acme,KS-100,north\n`;
  }

  async registers({ firmwareVersion = "1.0", otrt = "" } = {}): Promise<void> {
    const token = otrt === "" ? [] : [`otrt: ${quoted(otrt)}`];
    const fields = [`public_key: ${quoted(this.publicKey)}`, `firmware_version: ${quoted(firmwareVersion)}`, ...token];
    await this.done("/register", "register", fields);
  }

  /** Sends a message; returns the answer, which may be a refusal. */
  async send(path: string, type: string, fields: readonly string[]): Promise<string> {
    this.#seq += 1;
    const head = [`type: ${type}`, `device_id: ${this.deviceId}`, "boot_epoch: 1", `seq: ${this.#seq}`];
    const body = [...head, `sent_at: ${quoted(new Date().toISOString())}`, ...fields, ""].join("\n");
    const signature = sign(null, Buffer.from(`KS1 POST ${path}\n${body}`), this.#key).toString("base64");
    const headers = { "content-type": "text/toon; charset=utf-8" };
    const response = await fetch(`${this.server.url}${path}`, { method: "POST", headers, body: `${body}SIG_DEV: ${signature}` });
    return response.text();
  }

  /** Sends a message that has to be accepted. */
  async done(path: string, type: string, fields: readonly string[]): Promise<string> {
    const answer = await this.send(path, type, fields);
    if (!answer.startsWith("type: ")) throw new Error(`${path}: ${answer}`);
    return answer;
  }

  /** The fields of a heartbeat, with the results of commands. */
  static beat({ firmwareVersion = "1.0", keysetVersion = 1, acks = [] }: Beat = {}): string[] {
    const rows = acks.map(({ command_id, state, detail }) => `  ${command_id},${state},${quoted(detail)}`);
    return [
      `keyset_version: ${keysetVersion}`,
      "firmware:",
      `  version: ${quoted(firmwareVersion)}`,
      "  release_counter: 1",
      "uptime_s: 60",
      "cpu_temp_c: 41.5",
      "free_mem_kib: 100000",
      "network: wifi",
      "rssi_dbm: -61",
      ...(rows.length > 0 ? [`acks[${rows.length}]{command_id,state,detail}:`, ...rows] : ["acks: []"]),
    ];
  }

  async beats(beat?: Beat): Promise<string> {
    return this.done("/heartbeat", "heartbeat", TestDevice.beat(beat));
  }

  async logs(messages: readonly string[]): Promise<void> {
    const rows = messages.map((message) => `  ${quoted(new Date().toISOString())},error,${quoted(message)}`);
    await this.done("/logs", "logs", ["first_line_no: 1", `lines[${rows.length}]{at,level,message}:`, ...rows]);
  }

  /** Punches numbered from `first`, at these times. */
  async punches(first: number, at: readonly string[], badge: string): Promise<void> {
    const rows = at.map((time, index) => `  ${first + index},${quoted(time)},${quoted(badge)},in,card`);
    await this.done("/attendance", "attendance", [`punches[${rows.length}]{punch_no,at,badge,direction,method}:`, ...rows]);
  }
}
