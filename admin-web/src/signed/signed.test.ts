/** The protocol's test vectors, which devices are tested with too, and what an attacker would make of them. */

import { readFileSync } from "node:fs";

import { describe, expect, it } from "vitest";

import { type KeysetKey, readKeyset } from "./keyset";
import { type Claimed, readManifest, verifyManifest } from "./manifest";
import { trusted } from "./trust";

const vector = (name: string) => readFileSync(new URL(`../../../protocol/vectors/${name}`, import.meta.url), "utf8");
const keys = JSON.parse(vector("keys.json")) as Record<string, { public_key: string; key_id: string }>;
const publicKey = (name: string) => keys[name]?.public_key ?? "";
const BEFORE_EXPIRY = Date.parse("2026-12-01T00:00:00Z");

/** A server whose newest keyset is of this version, with what `change` makes of each answer. */
const serving =
  (newest: number, change: (answer: string, version: number) => string = (answer) => answer) =>
  async (version = newest) =>
    change(vector(`keyset-${version}.toon`), version);

describe("the chain of keysets", () => {
  it("leads from the first key to the newest keyset, over keys that are gone", async () => {
    const found = await trusted(publicKey("server"), serving(4), BEFORE_EXPIRY);
    expect("keyset" in found && found.keyset.version).toBe(4);
  });

  it("leads from a key that still signs without a step between", async () => {
    const asked: (number | undefined)[] = [];
    const ask = async (version?: number) => {
      asked.push(version);
      return serving(4)(version);
    };
    const found = await trusted(publicKey("next_server"), ask, BEFORE_EXPIRY);
    expect("keyset" in found && found.keyset.version).toBe(4);
    expect(asked).toEqual([undefined]);
  });

  it.each([
    ["a key of another server", publicKey("device"), serving(4), "no_chain"],
    ["a firmware key", publicKey("firmware"), serving(4), "no_chain"],
    [
      "a step that was changed",
      publicKey("server"),
      serving(4, (answer, version) => (version === 2 ? answer.replace("ANNOUNCED", "RETIRED") : answer)),
      "no_chain",
    ],
    ["a key with the name of another", publicKey("server"), serving(4, (a) => a.replace("k6c8f", "k6c8e")), "malformed"],
    ["a server that says nothing of the kind", publicKey("server"), async () => "<html>", "malformed"],
    [
      "an answer that somebody else has signed",
      publicKey("next_server"),
      serving(4, (a) => a.replace(/SIG_SERV: ..../, "SIG_SERV: AAAA")),
      "bad_signature",
    ],
  ])("does not lead from or over %s", async (_, pinned, ask, why) => {
    expect(await trusted(pinned, ask, BEFORE_EXPIRY)).toEqual({ verdict: { state: "refuted", why } });
  });

  it("does not take a keyset that a firmware key has signed", async () => {
    const ask = async () => vector("reject-keyset-by-a-firmware-key.toon");
    expect(await trusted(publicKey("next_server"), ask, BEFORE_EXPIRY)).toMatchObject({ verdict: { state: "refuted" } });
  });

  it("ends when the keyset does", async () => {
    const found = await trusted(publicKey("next_server"), serving(4), Date.parse("2027-02-21T18:20:11.520Z"));
    expect(found).toEqual({ verdict: { state: "refuted", why: "expired" } });
  });

  it("says so where nothing can be verified", async () => {
    const dead = () => Promise.reject(new Error("no answer"));
    expect(await trusted("", serving(1), BEFORE_EXPIRY)).toEqual({ verdict: { state: "open", why: "no_pinned_key" } });
    expect(await trusted("abc", serving(1), BEFORE_EXPIRY)).toEqual({ verdict: { state: "open", why: "bad_pinned_key" } });
    expect(await trusted(publicKey("server"), dead, BEFORE_EXPIRY)).toEqual({ verdict: { state: "open", why: "unreachable" } });
  });
});

describe("a manifest", () => {
  const manifest = vector("manifest.toon");
  const said = readManifest(manifest);
  const claimed: Claimed = { ...(said as NonNullable<typeof said>), models: ["KS-100", "KS-200"] };
  const newest = async (version = 4): Promise<readonly KeysetKey[]> =>
    (await readKeyset(vector(`keyset-${version}.toon`)))?.keys ?? [];

  it("is verified by the firmware key of the keyset", async () => {
    expect(await verifyManifest(manifest, await newest(), claimed)).toEqual({
      state: "verified",
      keyId: keys["firmware"]?.key_id,
    });
  });

  it("is refuted if it was changed, if its key does not count, and if the server says something else", async () => {
    const of = async (text: string, claims = claimed, version = 4) => {
      const verdict = await verifyManifest(text, await newest(version), claims);
      return verdict.state === "refuted" ? verdict.why : verdict.state;
    };
    expect(await of(manifest.replace("release_counter: 18", "release_counter: 19"))).toBe("bad_signature");
    expect(await of(manifest.slice(0, manifest.lastIndexOf("\n")))).toBe("not_signed");
    expect(await of(manifest, claimed, 2)).toBe("unknown_key");
    expect(await of(manifest, { ...claimed, release_counter: 17 })).toBe("other_content");
    expect(await of(manifest, { ...claimed, models: ["KS-100"] })).toBe("other_content");
    expect(await of("type: firmware_manifest\nFW_SIG: x")).toBe("malformed");
  });
});
