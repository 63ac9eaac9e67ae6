/** A finished run of `ks-fleet`, from the `summary.json` of its folder. */

export interface Rehearsed {
  readonly scenario: string;
  readonly verdict: "pass" | "fail" | "inconclusive";
  readonly reasons: readonly string[];
  readonly expectations: readonly { readonly name: string; readonly bound: string; readonly actual: number | null; readonly pass: boolean }[];
  readonly rollout: {
    readonly rolloutId: string;
    readonly state: string;
    readonly targets: number;
    readonly installed: number;
    readonly broken: number;
    /** From its start until it was complete; none if it never was. */
    readonly lastedS: number | undefined;
    readonly action: { readonly decision: string; readonly by: string; readonly afterS: number } | undefined;
  } | undefined;
}

/** The contract of run folders that this reads; greater ones are of a newer `ks-fleet`. */
const FORMAT_MAX = 1;

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);
const number = (value: unknown) => (typeof value === "number" ? value : undefined);
const text = (value: unknown) => (typeof value === "string" ? value : "");

/** Reads a summary; none of what is not one. A file may say anything: nothing is taken from it unchecked. */
export function readSummary(json: string, rolloutId: string): Rehearsed | undefined {
  let summary: unknown;
  try {
    summary = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (!isObject(summary) || (number(summary["format"]) ?? Infinity) > FORMAT_MAX) return undefined;
  const verdict = (["pass", "fail", "inconclusive"] as const).find((known) => known === summary["verdict"]);
  if (!verdict || typeof summary["scenario"] !== "string") return undefined;
  const list = (value: unknown) => (Array.isArray(value) ? (value as unknown[]) : []);
  const rollouts = [summary["rollout"], ...list(summary["other_rollouts"])].filter(isObject);
  const own = rollouts.find((rollout) => rollout["rollout_id"] === rolloutId) ?? rollouts[0];
  return {
    scenario: summary["scenario"],
    verdict,
    reasons: list(summary["reasons"]).map(text).filter((reason) => reason !== ""),
    expectations: list(summary["expectations"])
      .filter(isObject)
      .map((of) => ({
        name: text(of["name"]),
        bound: text(of["bound"]),
        actual: number(of["actual"]) ?? null,
        pass: of["pass"] === true,
      })),
    rollout: own && rolloutOf(own),
  };
}

function rolloutOf(rollout: Json): Rehearsed["rollout"] {
  const started = number(rollout["started_at_s"]);
  const completed = number(rollout["completed_at_s"]);
  const action = isObject(rollout["first_action"]) ? rollout["first_action"] : undefined;
  const since = (at: number | undefined) => (at === undefined || started === undefined ? undefined : at - started);
  const afterS = since(number(action?.["at_s"]));
  return {
    rolloutId: text(rollout["rollout_id"]),
    state: text(rollout["state"]),
    targets: number(rollout["targets"]) ?? 0,
    installed: number(rollout["installed_devices"]) ?? 0,
    broken: number(rollout["broken_devices"]) ?? 0,
    lastedS: since(completed),
    action: action && afterS !== undefined ? { decision: text(action["decision"]), by: text(action["by"]), afterS } : undefined,
  };
}

/** The name of a scenario that the server writes for a rollout. */
export function scenarioName(rolloutId: string): string {
  return [...rolloutId].slice(0, 64).map((char) => (/[A-Za-z0-9]/.test(char) ? char.toLowerCase() : "-")).join("");
}
