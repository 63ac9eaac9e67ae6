/** Releases for tests: signed offline as `ks-server firmware sign` does, or through the API. */

import { createHash, generateKeyPairSync, sign } from "node:crypto";

import type { Server } from "./server";

/** A key pair for firmware; the private half never leaves the test. */
export class FirmwareKey {
  readonly #pair = generateKeyPairSync("ed25519");

  get publicKey(): string {
    const { x = "" } = this.#pair.publicKey.export({ format: "jwk" });
    return Buffer.from(x, "base64url").toString("base64");
  }

  get keyId(): string {
    return `k${createHash("sha256").update(Buffer.from(this.publicKey, "base64")).digest("hex").slice(0, 16)}`;
  }

  /** A manifest of an image, signed. */
  manifest(release: { id: string; version: string; counter: number; models: string[]; image: string }): string {
    const body = [
      "type: firmware_manifest",
      `release_id: ${release.id}`,
      "product: ks-terminal",
      `models[${release.models.length}]: ${release.models.join(",")}`,
      `version: ${release.version}`,
      `release_counter: ${release.counter}`,
      `sha256: ${createHash("sha256").update(release.image).digest("hex")}`,
      `size_bytes: ${Buffer.byteLength(release.image)}`,
      `not_before: "2026-01-01T00:00:00.000Z"`,
      `expires_at: "2099-01-01T00:00:00.000Z"`,
      `key_id: ${this.keyId}`,
      "",
    ].join("\n");
    return `${body}FW_SIG: ${sign(null, Buffer.from(`KS1 FIRMWARE\n${body}`), this.#pair.privateKey).toString("base64")}`;
  }
}

/** An active release of all models, signed by the server. */
export async function released(server: Server, version: string, counter: number): Promise<string> {
  const image = `the image of ${version}`;
  const { sha256 } = await server.call<{ sha256: string }>("POST", "/artifacts", image, "application/octet-stream");
  const release_id = `fw-${version}`;
  await server.call("POST", "/releases", { release_id, version, release_counter: counter, models: ["KS-100", "KS-200"], sha256 });
  for (const step of ["stage", "activate"]) await server.call("POST", `/releases/${release_id}/${step}`, { reason: "a test" });
  return release_id;
}
