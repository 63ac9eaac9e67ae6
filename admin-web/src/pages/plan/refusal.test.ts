/** Goal: what the server refuses in a policy is said in the labels and units of the form that it was typed into. */

import { expect, it } from "vitest";

import { de } from "../../texts/de";
import { en } from "../../texts/en";
import { inFormWords } from "./refusal";

const said = (detail: string) => inFormWords(`policy: ${detail}`, en.plan, "en");

it("says shares in per cent and times in the form's unit", () => {
  expect(said("stages[1].share_bp: expected more than 1500, the share of the stage before, got 1000")).toBe(
    "Stage 2, Share, %: expected more than 15 %, the share of the stage before, got 10 %",
  );
  expect(said("gates[0].threshold_bp: expected 0 to 9999 basis points, got 10050")).toBe(
    "Gate 1, Failures allowed, %: expected 0 to 99.99 %, got 100.5",
  );
  expect(said("gates[0].test: p1_bp is 50: expected 101 to 9999 basis points")).toBe(
    "Gate 1, Judged by: Bad: from is 0.5: expected 1.01 to 99.99 %",
  );
  expect(said("lost_after_s: expected 60 to 7776000, got 30")).toBe("Lost after silence of, min: expected 1 to 129,600, got 0.5");
});

it("leaves counts, and takes sentences apart that are put together", () => {
  const stage = "stages[0].min_executed: expected at most 3, the devices that the stage adds, or it could never be promoted; got 5";
  const gate = "gates[1].action: abort_and_roll_back needs `roll_back_to`, a release with a higher counter";
  expect(said(`${stage}; ${gate}`)).toBe(
    "Stage 1, Outcomes needed, %: expected at most 3, the devices that the stage adds, or it could never be promoted; got 5; " +
      "Gate 2, If it fails: abort and roll back needs Roll back to, a release with a higher counter",
  );
  expect(said("gates[0]: it can't pass in stage 1: too few devices")).toBe("Gate 1: it can't pass in stage 1: too few devices");
});

it("leaves other texts as they are, and has the labels of each language", () => {
  expect(inFormWords("there is no release fw-9", en.plan, "en")).toBe("there is no release fw-9");
  expect(said("something: else")).toBe("something: else");
  expect(inFormWords("policy: watch_s: expected 0 to 7776000, got 7776001", de.plan, "de")).toContain(`${de.plan.watch}: expected 0 to 2.160`);
});
