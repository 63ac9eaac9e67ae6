/** A rollout as it is typed: percents, hours and minutes, which become basis points and seconds. */

import type { DeviceSelector, Gate, Policy } from "../../api/types";
import { FAILURES } from "../rollout/counts";

export interface StageDraft {
  readonly share: string;
  readonly executed: string;
  readonly bakeH: string;
  readonly approval: "auto" | "manual";
}

export interface GateDraft {
  readonly threshold: string;
  readonly executed: string;
  readonly test: Gate["test"]["kind"];
  readonly confidence: string;
  readonly p0: string;
  readonly p1: string;
  readonly error: string;
  readonly scope: NonNullable<Gate["scope"]>;
  readonly action: NonNullable<Gate["action"]>;
}

export interface PolicyDraft {
  readonly stages: readonly StageDraft[];
  readonly gates: readonly GateDraft[];
  readonly inFlight: string;
  readonly starts: string;
  readonly siteShare: string;
  readonly confirmMin: string;
  readonly progressMin: string;
  readonly lostMin: string;
  readonly waitDays: string;
  readonly watchH: string;
  readonly rollBackTo: string;
}

export const newStage = (share: string, bakeH: string, approval: StageDraft["approval"] = "auto"): StageDraft => ({
  share,
  executed: "90",
  bakeH,
  approval,
});

export const newGate = (change: Partial<GateDraft> = {}): GateDraft => ({
  threshold: "0.5",
  executed: "90",
  test: "raw",
  confidence: "95",
  p0: "0.5",
  p1: "2",
  error: "5",
  scope: "cumulative",
  action: "abort",
  ...change,
});

const PACE = {
  inFlight: "500",
  starts: "200",
  siteShare: "10",
  confirmMin: "15",
  progressMin: "60",
  lostMin: "120",
  waitDays: "14",
  watchH: "24",
  rollBackTo: "",
};

/** Policies to begin with; what they can prove in a fleet is what the plan says. */
export const PRESETS = {
  careful: {
    ...PACE,
    stages: [newStage("15", "24"), newStage("40", "12", "manual"), { ...newStage("100", "1"), executed: "85" }],
    gates: [newGate(), newGate({ threshold: "3", executed: "25", scope: "model" })],
  },
  playbook: { ...PACE, stages: [newStage("5", "48"), { ...newStage("100", "1"), executed: "50" }], gates: [newGate()] },
  steps: {
    ...PACE,
    stages: [newStage("5", "12"), newStage("15", "6"), newStage("40", "6"), { ...newStage("100", "1"), executed: "80" }],
    gates: [newGate()],
  },
  hotfix: {
    ...PACE,
    confirmMin: "10",
    stages: [newStage("10", "1", "manual"), { ...newStage("100", "1"), executed: "85" }],
    gates: [newGate({ threshold: "1" })],
  },
} as const satisfies Record<string, PolicyDraft>;

export type Preset = keyof typeof PRESETS;
export const PRESET_NAMES = Object.keys(PRESETS) as readonly Preset[];

/** A number as typed; none if it is not one. */
function number(typed: string): number | undefined {
  const value = Number(typed.trim().replace(",", "."));
  return typed.trim() === "" || !Number.isFinite(value) || value < 0 ? undefined : value;
}

/** A field whose text is no number, by its name in the texts. */
export type Missing = "share" | "executed" | "bake" | "threshold" | "confidence" | "p0" | "p1" | "error" | keyof typeof PACE;

export type Typed = { readonly policy: Policy } | { readonly missing: Missing };

/** The policy that is meant, or the first field that is no number. Whether it makes sense is the server's to say. */
export function policyOf(draft: PolicyDraft): Typed {
  let missing: Missing | undefined;
  const scaled = (typed: string, factor: number, field: Missing) => {
    const value = number(typed);
    if (value === undefined) missing ??= field;
    return Math.round((value ?? 0) * factor);
  };
  const bp = (typed: string, field: Missing) => scaled(typed, 100, field);
  const stages = draft.stages.map((stage) => ({
    share_bp: bp(stage.share, "share"),
    min_executed_bp: bp(stage.executed, "executed"),
    bake_s: scaled(stage.bakeH, 3_600, "bake"),
    approval: stage.approval,
  }));
  const test = (gate: GateDraft): Gate["test"] => {
    switch (gate.test) {
      case "raw":
        return { kind: "raw" };
      case "clopper_pearson":
        return { kind: "clopper_pearson", confidence_bp: bp(gate.confidence, "confidence") };
      case "sprt": {
        const error_bp = bp(gate.error, "error");
        return { kind: "sprt", p0_bp: bp(gate.p0, "p0"), p1_bp: bp(gate.p1, "p1"), alpha_bp: error_bp, beta_bp: error_bp };
      }
    }
  };
  const gates = draft.gates.map((gate) => ({
    threshold_bp: bp(gate.threshold, "threshold"),
    min_executed_bp: bp(gate.executed, "executed"),
    test: test(gate),
    outcomes: [...FAILURES],
    scope: gate.scope,
    action: gate.action,
  }));
  const policy: Policy = {
    stages,
    gates,
    in_flight_max: scaled(draft.inFlight, 1, "inFlight"),
    starts_per_min: scaled(draft.starts, 1, "starts"),
    site_unavailable_max: null,
    ...(draft.siteShare.trim() === "" ? {} : { site_unavailable_max_bp: bp(draft.siteShare, "siteShare") }),
    confirm_window_s: scaled(draft.confirmMin, 60, "confirmMin"),
    progress_timeout_s: scaled(draft.progressMin, 60, "progressMin"),
    lost_after_s: scaled(draft.lostMin, 60, "lostMin"),
    max_wait_s: scaled(draft.waitDays, 86_400, "waitDays"),
    watch_s: scaled(draft.watchH, 3_600, "watchH"),
    roll_back_to: draft.rollBackTo === "" ? null : draft.rollBackTo,
  };
  return missing === undefined ? { policy } : { missing };
}

export interface WhoDraft {
  readonly all: boolean;
  readonly site: string;
  readonly model: string;
  readonly label: string;
  readonly firmware: string;
  readonly ids: string;
}

/** Which devices are meant; none if nothing is chosen. */
export function selectorOf(who: WhoDraft): DeviceSelector | undefined {
  if (who.all) return { all: true };
  const ids = who.ids.split(/[\s,]+/).filter((id) => id !== "");
  const chosen = {
    ...(who.site === "" ? {} : { site: who.site }),
    ...(who.model === "" ? {} : { model: who.model }),
    ...(who.label.trim() === "" ? {} : { label: who.label.trim() }),
    ...(who.firmware === "" ? {} : { firmware_version: who.firmware }),
    ...(ids.length === 0 ? {} : { device_ids: ids }),
  };
  return Object.keys(chosen).length > 0 ? { all: false, ...chosen } : undefined;
}
