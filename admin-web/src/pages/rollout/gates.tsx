/** What each gate reads now: its statistic against its bounds, and how far it is from a verdict. */

import type { Gate, GateProgress, Progress, Rollout } from "../../api/types";
import { VerdictOfGate } from "../../components/badges";
import { Empty } from "../../components/states";
import { count } from "../../format/number";
import { useLanguage } from "../../texts/language";
import { gateText } from "../plan/gate-text";
import { bounds } from "./bounds";

export function Gates({ rollout, progress }: { rollout: Rollout; progress: Progress }) {
  const { texts, locale } = useLanguage();
  const words = texts.rollouts;
  const readings = progress.gates.length > 0 ? progress.gates : rollout.gates.map(readingAlone);
  return (
    <section className="panel" aria-labelledby="gates">
      <h2 id="gates">{words.gates}</h2>
      <ul className="soft">
        {rollout.policy.gates.map((gate, number) => (
          <li key={JSON.stringify(gate)}>
            {count(number + 1, locale)}: {gateText(gate, texts, locale)}
          </li>
        ))}
      </ul>
      {readings.length === 0 && <Empty>{words.noGates}</Empty>}
      <ul className="notices">
        {readings.map((reading) => (
          <li key={`${reading.gate} ${reading.of}`}>
            <Reading reading={reading} gate={rollout.policy.gates[reading.gate]} />
          </li>
        ))}
      </ul>
    </section>
  );
}

/** A reading of a rollout that has ended: nothing can change it any more. */
const readingAlone = (reading: Rollout["gates"][number]): GateProgress => ({
  ...reading,
  is_required: true,
  clean_to_pass: 0,
  failures_to_fail: null,
});

function Reading({ reading, gate }: { reading: GateProgress; gate: Gate | undefined }) {
  const { texts, locale } = useLanguage();
  const words = texts.rollouts;
  const percent = (ppm: number) =>
    new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 2 }).format(ppm / 1_000_000);
  const { failures_to_fail: toFail, clean_to_pass: toPass, verdict } = reading;
  const hasBand = gate?.test.kind === "clopper_pearson";
  const said = [
    words.reading(count(reading.failed, locale), count(reading.executed, locale), percent(reading.share_ppm)),
    ...(hasBand ? [words.bounds(percent(reading.lower_ppm), percent(reading.upper_ppm))] : []),
    words.threshold(percent(reading.threshold_bp * 100)),
  ].join("; ");
  return (
    <div className="gate">
      <div className="row">
        <strong>{words.gate(count(reading.gate + 1, locale), reading.of === "all" ? words.all : reading.of)}</strong>
        <VerdictOfGate verdict={verdict} />
      </div>
      <BoundsBar reading={reading} hasBand={hasBand} />
      <p>{said}</p>
      <p className="soft">
        {typeof toFail === "number" && toFail > 0 && `${words.toFail(toFail, count(toFail, locale))} `}
        {!reading.is_required && words.failsOnly}
        {reading.is_required && verdict === "INCONCLUSIVE" && typeof toPass === "number" && words.toPass(toPass, count(toPass, locale))}
        {reading.is_required && verdict === "INCONCLUSIVE" && toPass === null && words.canNotPass}
      </p>
    </div>
  );
}

/** The share of failures on a scale with the threshold; with its confidence band, if the gate judges one. */
function BoundsBar({ reading, hasBand }: { reading: GateProgress; hasBand: boolean }) {
  const { lower, upper, share, threshold } = bounds(reading);
  const x = (part: number) => part * 1_000;
  return (
    <svg className="bounds" viewBox="0 0 1000 24" preserveAspectRatio="none" aria-hidden="true">
      <rect className="allowed" x="0" y="8" width={x(threshold)} height="8" />
      <rect className="beyond" x={x(threshold)} y="8" width={x(1 - threshold)} height="8" />
      {hasBand && <rect className="band" x={x(lower)} y="5" width={Math.max(2, x(upper - lower))} height="14" />}
      <rect className="limit" x={x(threshold) - 2} y="2" width="4" height="20" />
      <rect className="share" x={Math.min(990, x(share))} y="2" width="10" height="20" />
    </svg>
  );
}
