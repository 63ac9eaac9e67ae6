/** A gate of a policy in a sentence. */

import type { Gate } from "../../api/types";
import { count } from "../../format/number";
import type { Texts } from "../../texts/en";

export function gateText(gate: Gate, { plan }: Texts, locale: string): string {
  const percent = (bp: number) =>
    new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 2 }).format(bp / 10_000);
  const test = () => {
    switch (gate.test.kind) {
      case "raw":
        return plan.simply;
      case "clopper_pearson":
        return plan.confidently(percent(gate.test.confidence_bp));
      case "sprt":
        return plan.sprt(percent(gate.test.p0_bp), percent(gate.test.p1_bp));
    }
  };
  const least =
    typeof gate.min_executed_bp === "number"
      ? percent(gate.min_executed_bp)
      : count(gate.min_executed ?? 1, locale);
  const action = plan.actions[gate.action ?? "abort"];
  return plan.gate(percent(gate.threshold_bp), plan.scopes[gate.scope ?? "cumulative"], test(), least, action);
}
