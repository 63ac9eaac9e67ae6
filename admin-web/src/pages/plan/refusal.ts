/** What the server says about a policy, in the words and units of the form: it speaks of fields in basis points and seconds. */

import { ApiProblem } from "../../api/problem";
import { count } from "../../format/number";
import type { Texts } from "../../texts/en";

type Words = Texts["plan"];

/** What the server puts before its sentences about a policy. */
const POLICY = "policy: ";

/** Seconds of the form's unit, by the field of the API. */
const SECONDS: Readonly<Record<string, number>> = {
  bake_s: 3_600,
  watch_s: 3_600,
  confirm_window_s: 60,
  progress_timeout_s: 60,
  lost_after_s: 60,
  max_wait_s: 86_400,
};

/** The label of a field or choice of the API in the form. */
function label(field: string, words: Words): string | undefined {
  const names: Readonly<Record<string, string>> = {
    share_bp: words.share,
    min_executed: words.executed,
    min_executed_bp: words.executed,
    bake_s: words.bake,
    threshold_bp: words.threshold,
    confidence_bp: words.confidence,
    p0_bp: words.p0,
    p1_bp: words.p1,
    alpha_bp: words.error,
    beta_bp: words.error,
    test: words.test,
    action: words.action,
    in_flight_max: words.inFlight,
    starts_per_min: words.starts,
    site_unavailable_max: words.siteShare,
    site_unavailable_max_bp: words.siteShare,
    confirm_window_s: words.confirm,
    progress_timeout_s: words.progress,
    lost_after_s: words.lost,
    max_wait_s: words.wait,
    watch_s: words.watch,
    roll_back_to: words.rollBackTo,
    clopper_pearson: words.tests.clopper_pearson,
    abort_and_roll_back: words.actions.abort_and_roll_back,
  };
  return names[field];
}

/** What a sentence of a policy begins with: a stage or gate, a field of one, or a field of the policy. */
const SUBJECT = /^(?:(stages|gates)\[(\d+)\]\.?)?([a-z0-9_]*): /;
const NEXT_SENTENCE = /; (?=(?:(?:stages|gates)\[\d+\](?:\.[a-z0-9_]+)?|[a-z]+_[a-z0-9_]+): )/;

/** One sentence, such as `stages[1].share_bp: expected 1 to 10000 basis points, got 0`. */
function inWords(sentence: string, words: Words, language: string): string {
  const [subject, group, place, field = ""] = SUBJECT.exec(sentence) ?? [];
  const name = field === "" ? "" : label(field, words);
  if (subject === undefined || name === undefined || (group === undefined && name === "")) return sentence;
  const scaled = (text: string, divisor: number, unit = "") =>
    text.replace(/\b\d+\b/g, (digits) => `${count(Number(digits) / divisor, language)}${unit}`);
  let text = sentence.slice(subject.length);
  const seconds = SECONDS[field];
  if (text.includes("basis points")) text = scaled(text, 100).replaceAll("basis points", "%");
  else if (field.endsWith("_bp")) text = scaled(text, 100, " %");
  else if (seconds !== undefined) text = scaled(text, seconds);
  // Fields and choices that the sentence names, without the unit that belongs to a value.
  text = text.replace(/`?\b([a-z0-9]+(?:_[a-z0-9]+)+)\b`?/g, (all, named: string) => label(named, words)?.replace(/, %$/, "") ?? all);
  const number = String(Number(place) + 1);
  const where = group === undefined ? "" : group === "stages" ? words.stageNumber(number) : words.gateNumber(number);
  return `${[where, name].filter((part) => part !== "").join(", ")}: ${text}`;
}

/** The refusal of a policy in the form's words; any other text as it is. */
export function inFormWords(detail: string, words: Words, language: string): string {
  if (!detail.startsWith(POLICY)) return detail;
  return detail
    .slice(POLICY.length)
    .split(NEXT_SENTENCE)
    .map((sentence) => inWords(sentence, words, language))
    .join("; ");
}

export function refusal(error: unknown, words: Words, language: string): unknown {
  if (!(error instanceof ApiProblem) || !error.detail.startsWith(POLICY)) return error;
  return new ApiProblem(error.status, inFormWords(error.detail, words, language), error.errors, error.retryAfterS);
}
