import { describe, expect, it } from "vitest";

import type { Policy } from "../../api/types";
import { bounds } from "./bounds";
import { counts } from "./counts";
import { outcomeCurve } from "./outcome-curve";
import { possible } from "./possible";

describe("orders", () => {
  const policy = {} as Policy;
  const all = { stop: true, proceed: true };

  it("are those that the state takes and the role may give", () => {
    expect(possible({ status: "RUNNING", open: true, policy }, all)).toEqual(["pause", "abort"]);
    expect(possible({ status: "WAITING", open: true, policy }, all)).toEqual(["approve", "pause", "abort"]);
    expect(possible({ status: "PAUSED", open: true, policy }, all)).toEqual(["resume", "abort"]);
    expect(possible({ status: "PAUSED", open: true, policy }, { stop: true, proceed: false })).toEqual(["abort"]);
    expect(possible({ status: "RUNNING", open: true, policy }, { stop: false, proceed: false })).toEqual([]);
    expect(possible({ status: "ABORTED", open: true, policy }, all)).toEqual([]);
  });

  it("roll back a watched rollout too, if its policy says to what", () => {
    const back = { ...policy, roll_back_to: "fw-3" };
    expect(possible({ status: "COMPLETED", open: true, policy: back }, all)).toEqual(["abort", "rollBack"]);
    expect(possible({ status: "COMPLETED", open: false, policy: back }, all)).toEqual([]);
  });
});

describe("counts of updates", () => {
  it("add up to all, each state once", () => {
    const of = counts({ PENDING: 5, OFFERED: 1, INSTALLING: 2, CONFIRMED: 10, LOST: 3, FAILED: 1, HALTED: 4, WITHDRAWN: 1 });
    expect(of).toEqual({ notYet: 5, inFlight: 3, confirmed: 10, failed: 4, leftOut: 5, all: 27 });
  });
});

describe("a gate's statistic", () => {
  it("is a place on a scale with its threshold", () => {
    const at = bounds({ share_ppm: 2_500, lower_ppm: 0, upper_ppm: 20_000, threshold_bp: 50 });
    expect(at).toEqual({ end: 10_000, lower: 0, upper: 1, share: 0.25, threshold: 0.5 });
  });

  it("stays on it, however bad it is", () => {
    const at = bounds({ share_ppm: 1_000_000, lower_ppm: 1_000_000, upper_ppm: 1_000_000, threshold_bp: 9_999 });
    expect(at.share).toBe(1);
    expect(at.threshold).toBeLessThan(1);
  });
});

describe("outcomes over time", () => {
  const at = (second: number) => new Date(second * 1_000).toISOString();

  it("grow with each device, those of one moment together", () => {
    const updates = [
      { state: "CONFIRMED" as const, ended_at: at(20) },
      { state: "LOST" as const, ended_at: at(30) },
      { state: "CONFIRMED" as const, ended_at: at(20) },
      { state: "HALTED" as const, ended_at: at(25) },
      { state: "PENDING" as const, ended_at: null },
    ];
    expect(outcomeCurve(updates, 10_000, 40_000)).toEqual({
      times: [10, 20, 30, 40],
      confirmed: [0, 2, 2, 2],
      failed: [0, 0, 1, 1],
    });
  });

  it("are level without any", () => {
    expect(outcomeCurve([], 10_000, 0)).toEqual({ times: [10], confirmed: [0], failed: [0] });
  });
});
