/** Firmware manifests: what is in them, and whether a key signed them whose signature counts. */

import { cut, field, list } from "./document";
import { verifies } from "./ed25519";
import { firmwareSigners, type KeysetKey } from "./keyset";
import { refuted, type Verdict } from "./verdict";

/** What a manifest says, as far as the pages show it. */
export interface ManifestFields {
  readonly release_id: string;
  readonly version: string;
  readonly release_counter: number;
  readonly sha256: string;
  readonly size_bytes: number;
  readonly key_id: string;
}

/** Reads a manifest, signed or not; none if it is not one. Nothing in it is verified. */
export function readManifest(text: string): ManifestFields | undefined {
  if (field(text, "type") !== "firmware_manifest") return undefined;
  const texts = ["release_id", "version", "sha256", "key_id"].map((name) => field(text, name));
  const [release_id, version, sha256, key_id] = texts;
  const [release_counter, size_bytes] = ["release_counter", "size_bytes"].map((name) => Number(field(text, name)));
  if (release_id === undefined || version === undefined || sha256 === undefined || key_id === undefined) return undefined;
  if (!Number.isSafeInteger(release_counter) || !Number.isSafeInteger(size_bytes)) return undefined;
  return { release_id, version, sha256, key_id, release_counter: release_counter ?? 0, size_bytes: size_bytes ?? 0 };
}

/** Whether a manifest is signed, and which key it names. */
export const isSigned = (text: string) => cut(text, "FW_SIG") !== undefined;

/** What the server says of the release beside its manifest. */
export type Claimed = Omit<ManifestFields, "key_id"> & { readonly models: readonly string[] };

/** Judges a manifest by the keys of a verified keyset, and whether it says what the server says beside it. */
export async function verifyManifest(text: string, keys: readonly KeysetKey[], claimed: Claimed): Promise<Verdict> {
  const signed = cut(text, "FW_SIG");
  if (!signed) return refuted("not_signed");
  const said = readManifest(signed.body);
  if (!said) return refuted("malformed");
  const key = firmwareSigners(keys).find(({ keyId }) => keyId === said.key_id);
  if (!key) return refuted("unknown_key");
  const isValid = await verifies(key.publicKey, signed.signature, `KS1 FIRMWARE\n${signed.body}`);
  if (!isValid) return refuted("bad_signature");
  const models = list(signed.body, "models");
  const isSame =
    said.release_id === claimed.release_id &&
    said.version === claimed.version &&
    said.release_counter === claimed.release_counter &&
    said.sha256 === claimed.sha256 &&
    said.size_bytes === claimed.size_bytes &&
    // Names with commas or quotes are quoted there; then their number has to do.
    (models === undefined || models.join() === claimed.models.join());
  return isSame ? { state: "verified", keyId: said.key_id } : refuted("other_content");
}
