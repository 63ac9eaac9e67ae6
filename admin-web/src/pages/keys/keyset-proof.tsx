/** Whether the keyset that the API shows is the one that the pinned key leads to, found out in this browser. */

import { useQuery } from "@tanstack/react-query";

import type { KeysStatus } from "../../api/types";
import { trustQuery } from "../../signed/trust-query";
import { VerdictNotice } from "../../signed/verdict-notice";
import { proofOf } from "./proof";

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
