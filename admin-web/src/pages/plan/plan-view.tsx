/** The plan of a rollout: who, when, and what its gates can prove. */

import { Link } from "@tanstack/react-router";
import { type ReactNode, useMemo } from "react";

import type { Plan, RolloutSpec } from "../../api/types";
import { Curves } from "../../components/curves";
import { Said } from "../../components/said";
import { count, share } from "../../format/number";
import { duration } from "../../format/time";
import { useLanguage } from "../../texts/language";
import { gateText } from "./gate-text";
import { powerCurve } from "./power";

interface PlanViewProps {
  readonly spec: RolloutSpec;
  readonly plan: Plan;
  readonly aside: ReactNode;
}

/** Names of a list that are written out. */
const NAMES_MAX = 12;

export function PlanView({ spec, plan, aside }: PlanViewProps) {
  const { texts, locale } = useLanguage();
  const words = texts.plan;
  const shown = (number: number) => count(number, locale);
  const { update_time: time } = plan;
  const basis = time.measured > 0 ? words.measured(shown(time.measured)) : words.assumed;
  return (
    <>
      <section className="panel" aria-labelledby="plan">
        <div className="page-head">
          <h2 id="plan">{words.planned}</h2>
          <span className="aside">{aside}</span>
        </div>
        <p>
          <strong>{words.targets(plan.targets, shown(plan.targets), spec.release_id)}</strong>
        </p>
        {Object.keys(plan.left_out).length > 0 && (
          <ul>
            {Object.entries(plan.left_out).map(([why, devices]) => (
              <li key={why}>{words.leftOut(devices, shown(devices), why)}</li>
            ))}
          </ul>
        )}
        <p>{words.lasts(duration(plan.at_best_s, locale), duration(plan.expected_s, locale))}</p>
        <p className="soft">
          {words.updateTime(duration(time.install_s, locale), duration(time.confirm_s, locale))}
          {basis}
        </p>
        <PlannedStages plan={plan} />
        <details>
          <summary>{words.first(shown(plan.first_devices.length))}</summary>
          <ul className="row">
            {plan.first_devices.slice(0, 100).map((deviceId) => (
              <li key={deviceId}>
                <Link to="/devices/$deviceId" params={{ deviceId }}>
                  {deviceId}
                </Link>
              </li>
            ))}
          </ul>
          {plan.first_devices.length > 100 && <p>{words.more(shown(plan.first_devices.length - 100))}</p>}
        </details>
      </section>
      <Power plan={plan} />
    </>
  );
}

function PlannedStages({ plan }: { plan: Plan }) {
  const { texts, locale } = useLanguage();
  const words = texts.plan;
  const shown = (number: number) => count(number, locale);
  const heads = [words.stage, texts.rollouts.share, words.adds, words.altogether, words.needs, words.atLeast, words.expected];
  const mix = (by: Readonly<Record<string, number>>) => {
    const sorted = Object.entries(by).sort(([, one], [, other]) => other - one);
    const named = sorted.slice(0, NAMES_MAX).map(([name, devices]) => `${name} ${shown(devices)}`);
    const rest = sorted.length - named.length;
    return [...named, ...(rest > 0 ? [words.more(shown(rest))] : [])].join(", ");
  };
  return (
    <div className="scroll" tabIndex={0} role="group" aria-label={words.planned}>
      <table className="wide">
        <thead>
          <tr>
            {[...heads, words.models, words.sites].map((head) => (
              <th key={head} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {plan.stages.map((stage, number) => (
            <tr key={stage.share_bp}>
              <th scope="row">{shown(number + 1)}</th>
              <td>{share(stage.share_bp, 10_000, locale)}</td>
              <td>{shown(stage.adds)}</td>
              <td>{shown(stage.devices)}</td>
              <td>{shown(stage.min_executed)}</td>
              <td>{duration(stage.at_best_s, locale)}</td>
              <td>{duration(stage.expected_s, locale)}</td>
              <td>{mix(stage.by_model)}</td>
              <td>{mix(stage.by_site)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Bugs that are no plot: too few points to draw a line. */
const POINTS_MIN = 2;

function Power({ plan }: { plan: Plan }) {
  const { texts, locale } = useLanguage();
  const words = texts.plan;
  const curve = useMemo(() => powerCurve(plan.together), [plan.together]);
  const curves = useMemo(
    () => [
      { name: words.firstStage, values: curve.firstAtMost, color: "--plot-2" as const },
      { name: words.wholeAtMost, values: curve.wholeAtMost, color: "--plot-1" as const },
      { name: words.wholeAtLeast, values: curve.wholeAtLeast, color: "--plot-1" as const, isDashed: true },
    ],
    [words, curve],
  );
  const percent = (part: number, digits = 2) =>
    new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: digits }).format(part);
  const middle = Math.floor(curve.bugs.length / 2);
  const summary = words.curveSummary(
    percent((curve.bugs[middle] ?? 0) / 100),
    percent((curve.firstAtMost[middle] ?? 0) / 100),
    percent((curve.wholeAtMost[middle] ?? 0) / 100),
  );
  return (
    <section className="panel" aria-labelledby="power">
      <h2 id="power">{words.power}</h2>
      <ul className="notices">
        {plan.power.map((of) => {
          const gate = plan.policy.gates[of.gate];
          return (
            <li key={of.gate} className="notice">
              <strong>{words.sentence(count(of.gate + 1, locale))}</strong>: {gate && gateText(gate, texts, locale)}
              <br />
              <Said text={of.sentence} />
            </li>
          );
        })}
      </ul>
      {curve.bugs.length >= POINTS_MIN && (
        <>
          <p className="soft">{words.powerText}</p>
          <div className="form">
            <Curves
              name={words.curve}
              summary={summary}
              xs={curve.bugs}
              x={{
                name: words.bug,
                kind: "log",
                ticks: (bugs) => bugs.map((bug) => percent(bug / 100, 1)),
                exact: (bug) => percent(bug / 100),
              }}
              curves={curves}
              show={(chance) => percent(chance / 100, 1)}
              yMax={100}
              heightPx={260}
            />
            <div className="scroll" tabIndex={0} role="group" aria-label={words.curve}>
              <table>
                <thead>
                  <tr>
                    {[words.through, ...curves.map((curve) => curve.name)].map((head) => (
                      <th key={head} scope="col">
                        {head}
                      </th>
                    ))}
                  </tr>
                </thead>
                <tbody>
                  {curve.bugs.map((bug, at) => (
                    <tr key={bug}>
                      <th scope="row">{percent(bug / 100)}</th>
                      {curves.map((of) => (
                        <td key={of.name} className="number">
                          {percent((of.values[at] ?? 0) / 100)}
                        </td>
                      ))}
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          </div>
        </>
      )}
    </section>
  );
}
