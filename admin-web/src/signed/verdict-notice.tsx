/** Whether a signed record was verified here, in a word or with what it means. */

import { useTexts } from "../texts/language";
import type { Verdict } from "./verdict";

const TONE = { verified: "good", refuted: "bad", open: "calm" } as const;

/** Why, in words. */
function useWhy(verdict: Verdict): string {
  const texts = useTexts().signed;
  switch (verdict.state) {
    case "verified":
      return texts.verifiedBy(verdict.keyId);
    case "refuted":
      return texts.refutation[verdict.why];
    case "open":
      return texts.obstacle[verdict.why];
  }
}

export function VerdictBadge({ verdict }: { verdict: Verdict }) {
  const why = useWhy(verdict);
  return (
    <span className={`badge ${TONE[verdict.state]}`} title={why}>
      {useTexts().signed[verdict.state]}
    </span>
  );
}

export function VerdictNotice({ verdict }: { verdict: Verdict }) {
  const why = useWhy(verdict);
  return (
    <p className={`notice ${TONE[verdict.state]}`}>
      <strong>{useTexts().signed[verdict.state]}</strong>: {why}
    </p>
  );
}
