import { describe, expect, it } from "vitest";

import { newGate, policyOf, PRESETS, selectorOf } from "./draft";

describe("a policy as typed", () => {
  it("becomes basis points and seconds", () => {
    const typed = policyOf({
      ...PRESETS.careful,
      stages: [{ share: "12.5", executed: "90", bakeH: "1.5", approval: "manual" }],
      gates: [newGate({ threshold: "0,5", test: "sprt", p0: "0.5", p1: "2", error: "5", scope: "model", action: "pause" })],
    });
    expect("policy" in typed && typed.policy.stages).toEqual([
      { share_bp: 1_250, min_executed_bp: 9_000, bake_s: 5_400, approval: "manual" },
    ]);
    expect("policy" in typed && typed.policy.gates[0]).toMatchObject({
      threshold_bp: 50,
      test: { kind: "sprt", p0_bp: 50, p1_bp: 200, alpha_bp: 500, beta_bp: 500 },
      scope: "model",
      action: "pause",
    });
  });

  it("has no limit and no way back where nothing is typed", () => {
    const typed = policyOf({ ...PRESETS.hotfix, siteShare: " ", rollBackTo: "" });
    expect("policy" in typed && typed.policy).not.toHaveProperty("site_unavailable_max_bp");
    expect("policy" in typed && typed.policy.roll_back_to).toBeNull();
  });

  it.each(["", "many", "-1", "1e999"])("names the field in which %j is no number", (starts) => {
    expect(policyOf({ ...PRESETS.careful, starts })).toEqual({ missing: "starts" });
  });
});

describe("the devices of a rollout", () => {
  const nobody = { all: false, site: "", model: "", label: "", firmware: "", ids: "" };

  it("are nobody unless something is chosen", () => {
    expect(selectorOf({ ...nobody, ids: " \n" })).toBeUndefined();
  });

  it("are those that match all that is filled in", () => {
    expect(selectorOf({ ...nobody, site: "lyon", ids: "KS-1\nKS-2, KS-3" })).toEqual({
      all: false,
      site: "lyon",
      device_ids: ["KS-1", "KS-2", "KS-3"],
    });
    expect(selectorOf({ ...nobody, all: true, site: "lyon" })).toEqual({ all: true });
  });
});
