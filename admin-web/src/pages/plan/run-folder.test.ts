import { describe, expect, it } from "vitest";

import { readSummary, scenarioName } from "./run-folder";

const summary = {
  format: 1,
  scenario: "spring",
  verdict: "fail",
  reasons: ["`rollout.aborted = 0` was not met: 1"],
  expectations: [{ name: "rollout.aborted", actual: 1, bound: "= 0", pass: false, unit: "" }],
  rollout: {
    rollout_id: "spring",
    state: "ABORTED",
    targets: 1_500,
    installed_devices: 151,
    broken_devices: 2,
    started_at_s: 3_600,
    first_action: { at_s: 7_684, decision: "aborted", by: "gate 1 of all" },
    completed_at_s: null,
  },
};

describe("a run folder's summary", () => {
  it("says how the rollout went, with times from its start", () => {
    expect(readSummary(JSON.stringify(summary), "spring")).toMatchObject({
      verdict: "fail",
      rollout: { targets: 1_500, broken: 2, lastedS: undefined, action: { decision: "aborted", afterS: 4_084 } },
    });
  });

  it("is of the rollout that was planned, if the run has several", () => {
    const other = { ...summary.rollout, rollout_id: "summer", targets: 7 };
    const run = readSummary(JSON.stringify({ ...summary, other_rollouts: [other] }), "summer");
    expect(run?.rollout?.targets).toBe(7);
  });

  it.each(["", "[]", "{}", "null", '{"format":2,"verdict":"pass","scenario":"x"}', '{"format":1,"verdict":"perfect","scenario":"x"}'])(
    "is not %s",
    (json) => expect(readSummary(json, "spring")).toBeUndefined(),
  );

  it("may lack what other runs have", () => {
    const run = readSummary('{"format":1,"verdict":"pass","scenario":"x","expectations":[7,null]}', "spring");
    expect(run).toEqual({ scenario: "x", verdict: "pass", reasons: [], expectations: [], rollout: undefined });
  });
});

it("names scenarios as the server does", () => {
  expect(scenarioName("Spring.2027_a")).toBe("spring-2027-a");
});
