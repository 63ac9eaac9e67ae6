/** Keysets, and the way from the pinned key to the newest one: the rules of docs/protocol.md, section 12. */

import { cut, field, table } from "./document";
import { keyIdOf, verifies } from "./ed25519";

export interface KeysetKey {
  readonly keyId: string;
  readonly state: string;
  readonly publicKey: string;
}

export interface Keyset {
  readonly version: number;
  readonly threshold: number;
  readonly expiresAt: number;
  readonly keys: readonly KeysetKey[];
  readonly signatures: readonly (readonly [keyId: string, signature: string])[];
  /** What its signatures cover. */
  readonly body: string;
  /** What the answer's signature covers, and that signature. */
  readonly answer: string;
  readonly answerSignature: string;
}

/** The keys that are trusted: those of one keyset, or the pinned one. */
export interface Trust {
  /** 0 for the pinned key. */
  readonly version: number;
  readonly threshold: number;
  readonly keys: readonly KeysetKey[];
}

/** Reads an answer of `GET /keys`; none if it is no keyset. */
export async function readKeyset(answer: string): Promise<Keyset | undefined> {
  const whole = cut(answer, "SIG_SERV");
  const body = /^[\s\S]*?\n(?=signatures\[)/.exec(answer)?.[0];
  if (!whole || !body || field(body, "type") !== "keyset") return undefined;
  const keys = table(body, "keys", ["key_id", "state", "public_key"]);
  const signatures = table(whole.body, "signatures", ["key_id", "signature"]);
  const [version, threshold] = [field(body, "version"), field(body, "threshold")].map(Number);
  const expiresAt = Date.parse(field(body, "expires_at") ?? "");
  if (!keys || !signatures || !Number.isSafeInteger(version) || !Number.isSafeInteger(threshold) || Number.isNaN(expiresAt)) {
    return undefined;
  }
  const named = keys.map(([keyId = "", state = "", publicKey = ""]) => ({ keyId, state, publicKey }));
  for (const { keyId, publicKey } of named) if ((await keyIdOf(publicKey)) !== keyId) return undefined;
  if (new Set(named.map(({ keyId }) => keyId)).size !== named.length) return undefined;
  return {
    version: version ?? 0,
    threshold: threshold ?? 0,
    expiresAt,
    keys: named,
    signatures: signatures.map(([keyId = "", signature = ""]) => [keyId, signature]),
    body,
    answer: whole.body,
    answerSignature: whole.signature,
  };
}

/** Keys that sign answers and keysets: all but those for firmware. */
const signers = (keys: readonly KeysetKey[]) => keys.filter(({ state }) => state !== "FIRMWARE");

/** The keys whose signature of a manifest counts. */
export function firmwareSigners(keys: readonly KeysetKey[]): readonly KeysetKey[] {
  const firmware = keys.filter(({ state }) => state === "FIRMWARE");
  return firmware.length > 0 ? firmware : keys;
}

/** How many of these keys have signed the keyset. */
async function signedBy(keyset: Keyset, keys: readonly KeysetKey[]): Promise<number> {
  let valid = 0;
  for (const { keyId, publicKey } of signers(keys)) {
    const made = keyset.signatures.filter(([name]) => name === keyId);
    for (const [, signature] of made) {
      if (await verifies(publicKey, signature, `KS1 KEYSET\n${keyset.body}`)) {
        valid += 1;
        break;
      }
    }
  }
  return valid;
}

const sameKeys = (one: readonly KeysetKey[], other: readonly KeysetKey[]) => {
  const names = (keys: readonly KeysetKey[]) => keys.map((key) => `${key.keyId} ${key.state === "FIRMWARE"}`).sort().join();
  return names(one) === names(other);
};

/** Whether the keyset may follow what is trusted; `unsigned` if only no trusted key has signed it. */
async function judge(trust: Trust, keyset: Keyset): Promise<"good" | "bad" | "unsigned"> {
  if (keyset.version < Math.max(1, trust.version)) return "bad";
  if (keyset.version === trust.version && !sameKeys(keyset.keys, trust.keys)) return "bad";
  if ((await signedBy(keyset, keyset.keys)) < Math.max(1, keyset.threshold)) return "bad";
  return (await signedBy(keyset, trust.keys)) < Math.max(1, trust.threshold) ? "unsigned" : "good";
}

/** Most versions that are followed one after the other. */
const CHAIN_MAX = 200;

export type Followed =
  | { readonly keyset: Keyset }
  | { readonly why: "malformed" | "no_chain" | "expired" | "bad_signature" | "too_long" };

/**
 * The newest keyset, if the pinned key leads to it. `ask` gets a version, none for the newest, and throws if there is no answer.
 */
export async function follow(pinned: string, ask: (version?: number) => Promise<string>, now: number): Promise<Followed> {
  const keyId = (await keyIdOf(pinned)) ?? "";
  let trust: Trust = { version: 0, threshold: 1, keys: [{ keyId, state: "SIGNING", publicKey: pinned }] };
  const newest = await readKeyset(await ask());
  if (!newest) return { why: "malformed" };
  let judged = await judge(trust, newest);
  if (judged === "unsigned" && newest.version > CHAIN_MAX) return { why: "too_long" };
  for (let version = 1; judged === "unsigned" && version < newest.version; version += 1) {
    const next = await readKeyset(await ask(version));
    if (!next || next.version !== version) return { why: "malformed" };
    const step = await judge(trust, next);
    if (step === "good") trust = next;
    // Before the first version that the pinned key has signed there may be others; after it, each follows the one before.
    else if (step === "bad" || trust.version > 0) return { why: "no_chain" };
    judged = await judge(trust, newest);
  }
  if (judged !== "good") return { why: "no_chain" };
  if (newest.expiresAt <= now) return { why: "expired" };
  for (const { publicKey } of signers([...trust.keys, ...newest.keys])) {
    if (await verifies(publicKey, newest.answerSignature, `KS1 RESPONSE 200 -\n${newest.answer}`)) return { keyset: newest };
  }
  return { why: "bad_signature" };
}
