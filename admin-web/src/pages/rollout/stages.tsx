/** The stages of a rollout, with what their devices have come to. */

import type { Rollout } from "../../api/types";
import { count, share } from "../../format/number";
import { duration } from "../../format/time";
import { useLanguage } from "../../texts/language";
import { counts } from "./counts";

export function Stages({ rollout }: { rollout: Rollout }) {
  const { texts, locale } = useLanguage();
  const words = texts.rollouts;
  const heads = [words.stage, words.share, words.adds, words.outcomes, words.needs, words.bake, words.approval];
  const current = rollout.status === "ABORTED" ? words.stopped : words.current;
  const isOver = rollout.status === "COMPLETED";
  return (
    <section className="panel" aria-labelledby="stages">
      <h2 id="stages">{words.stages}</h2>
      <div className="scroll" tabIndex={0} role="group" aria-labelledby="stages">
        <table className="wide">
          <thead>
            <tr>
              {heads.map((head) => (
                <th key={head} scope="col">
                  {head}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rollout.policy.stages.map((stage, number) => {
              const of = counts(rollout.updates_by_stage[number] ?? {});
              const isCurrent = number === rollout.stage && !isOver;
              const isDone = number < rollout.stage || isOver;
              return (
                <tr key={stage.share_bp} aria-current={isCurrent ? "step" : undefined}>
                  <th scope="row">
                    {count(number + 1, locale)}{" "}
                    <span className={`badge ${isDone ? "good" : isCurrent ? "warn" : "calm"}`}>
                      {isDone ? words.done : isCurrent ? current : words.later}
                    </span>
                  </th>
                  <td>{share(stage.share_bp, 10_000, locale)}</td>
                  <td>{count(of.all, locale)}</td>
                  <td>
                    <StageBar counts={of} />
                    {words.confirmed(count(of.confirmed, locale), count(of.all, locale))}
                    {of.failed > 0 && `, ${words.failed}: ${count(of.failed, locale)}`}
                  </td>
                  <td>{count(stage.min_executed ?? 0, locale)}</td>
                  <td>{duration(stage.bake_s, locale)}</td>
                  <td>{stage.approval === "manual" ? words.manual : words.auto}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** Confirmed, failed and updating devices of a stage as a bar; the words beside it say the same. */
function StageBar({ counts: { confirmed, failed, inFlight, all } }: { counts: ReturnType<typeof counts> }) {
  const parts = [
    ["is-good", confirmed],
    ["is-bad", failed],
    ["is-under-way", inFlight],
  ] as const;
  const width = (devices: number) => (devices / Math.max(1, all)) * 100;
  let from = 0;
  return (
    <svg className="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
      {parts.map(([kind, devices]) => {
        const x = from;
        from += width(devices);
        return <rect key={kind} className={kind} x={x} width={width(devices)} height="8" />;
      })}
    </svg>
  );
}
