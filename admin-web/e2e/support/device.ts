/** A device that sends exactly what a test gives it, such as texts that no simulated device writes (docs/protocol.md). */

import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";

import { publicKey, type Row, type Server } from "./server";

/** A text as a document has it. */
const quoted = (text: string) => JSON.stringify(text);

export class TestDevice {
  #seq = 0;

  private constructor(
    readonly server: Server,
    readonly deviceId: string,
    readonly key: KeyObject,
  ) {}

  /** Imports and registers a device. */
  static async register(server: Server, row: Omit<Row, "public_key">, firmwareVersion: string): Promise<TestDevice> {
    const keys = generateKeyPairSync("ed25519");
    const public_key = publicKey(keys.publicKey);
    await server.import([{ ...row, public_key }]);
    const device = new TestDevice(server, row.device_id, keys.privateKey);
    await device.done("/register", "register", [`public_key: ${quoted(public_key)}`, `firmware_version: ${quoted(firmwareVersion)}`]);
    return device;
  }

  /** Sends a message; returns the answer, which may be a refusal. */
  async send(path: string, type: string, fields: readonly string[]): Promise<string> {
    this.#seq += 1;
    const head = [`type: ${type}`, `device_id: ${this.deviceId}`, "boot_epoch: 1", `seq: ${this.#seq}`];
    const body = [...head, `sent_at: ${quoted(new Date().toISOString())}`, ...fields, ""].join("\n");
    const signature = sign(null, Buffer.from(`KS1 POST ${path}\n${body}`), this.key).toString("base64");
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

  /** The fields of a heartbeat, with what became of commands. */
  static beat(firmwareVersion: string, acks: readonly { command_id: string; state: string; detail: string }[] = []): string[] {
    const rows = acks.map(({ command_id, state, detail }) => `  ${command_id},${state},${quoted(detail)}`);
    return [
      "keyset_version: 1",
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

  async beats(firmwareVersion: string, acks?: Parameters<typeof TestDevice.beat>[1]): Promise<string> {
    return this.done("/heartbeat", "heartbeat", TestDevice.beat(firmwareVersion, acks));
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
