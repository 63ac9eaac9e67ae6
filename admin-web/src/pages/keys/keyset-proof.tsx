/** Whether the keyset that the API shows is the one that the pinned key leads to, found out in this browser. */

import { useQuery } from "@tanstack/react-query";

import type { KeysStatus } from "../../api/types";
import { type Trusted } from "../../signed/trust";
import { trustQuery } from "../../signed/trust-query";
import { refuted, type Verdict } from "../../signed/verdict";
import { VerdictNotice } from "../../signed/verdict-notice";

/** The API's keys against those that were verified; none while the two are of different moments. */
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

export function KeysetProof({ status }: { status: KeysStatus }) {
  // Asked anew for each version that the API names.
  const trust = useQuery({ ...trustQuery, queryKey: [...trustQuery.queryKey, String(status.keyset_version)] });
  const verdict = trust.data && proofOf(status, trust.data);
  return (
    <div role="status" className="quiet">
      {verdict && <VerdictNotice verdict={verdict} />}
    </div>
  );
}
