/** The API's keys against the keyset that was verified in the browser. */

import type { KeysStatus } from "../../api/types";
import type { Trusted } from "../../signed/trust";
import { refuted, type Verdict } from "../../signed/verdict";

/** None while the two are of different moments. */
export function proofOf(status: KeysStatus, trusted: Trusted): Verdict | undefined {
  if ("verdict" in trusted) return trusted.verdict;
  const { version, keys } = trusted.keyset;
  if (version !== status.keyset_version) return undefined;
  const said = status.keys.filter((key) => key.status !== "REMOVED").map((key) => `${key.key_id} ${key.status}`);
  const proven = keys.map((key) => `${key.keyId} ${key.state}`);
  if (said.sort().join() !== proven.sort().join()) return refuted("other_content");
  const signing = keys.find((key) => key.state === "SIGNING");
  return { state: "verified", keyId: signing?.keyId ?? "" };
}
