/** The same rollout in virtual time: its scenario to download, and a finished run beside the plan. */

import { useMutation } from "@tanstack/react-query";
import { type DragEvent, type ReactNode, useState } from "react";

import { answer, api } from "../../api/client";
import type { Plan, RolloutSpec } from "../../api/types";
import { FileField } from "../../components/fields";
import { Problem } from "../../components/states";
import { save } from "../../format/save";
import { count } from "../../format/number";
import { duration } from "../../format/time";
import { useLanguage } from "../../texts/language";
import { decisionText } from "../rollout/trace";
import { droppedSummary } from "./dropped";
import { readSummary, type Rehearsed, scenarioName } from "./run-folder";

interface RehearsalProps {
  readonly spec: RolloutSpec;
  readonly plan: Plan;
}

export function Rehearsal({ spec, plan }: RehearsalProps) {
  const { texts } = useLanguage();
  const words = texts.plan;
  const file = `${scenarioName(spec.rollout_id)}.toml`;
  const download = useMutation({
    mutationFn: () => answer(api.POST("/api/rollouts/plan/rehearsal", { body: spec, parseAs: "text" })),
    onSuccess: (scenario) => save(file, scenario, "application/toml"),
  });
  return (
    <section className="panel" aria-labelledby="rehearse">
      <h2 id="rehearse">{words.rehearse}</h2>
      <p>{words.rehearseText}</p>
      <div>
        <button type="button" aria-disabled={download.isPending} onClick={() => !download.isPending && download.mutate()}>
          {download.isPending ? words.rehearsing : words.rehearseDownload}
        </button>
      </div>
      <div role="alert" className="quiet">
        {download.error ? <Problem error={download.error} /> : null}
      </div>
      <p>{words.rehearseThen}</p>
      <pre className="mono" tabIndex={0} aria-label={words.rehearse}>
        {`ks-fleet rehearse ${file} --out ${scenarioName(spec.rollout_id)}`}
      </pre>
      <FinishedRun spec={spec} plan={plan} />
    </section>
  );
}

function FinishedRun({ spec, plan }: RehearsalProps) {
  const { texts } = useLanguage();
  const words = texts.plan;
  const [run, setRun] = useState<Rehearsed | "wrong">();
  const read = (json: string | undefined) => setRun(json === undefined ? "wrong" : (readSummary(json, spec.rollout_id) ?? "wrong"));
  const drop = (event: DragEvent) => {
    event.preventDefault();
    droppedSummary(event.dataTransfer).then(read, () => read(undefined));
  };
  return (
    <div className="drop" onDragOver={(event) => event.preventDefault()} onDrop={drop}>
      <FileField
        name={words.drop}
        hint={words.dropHint}
        accept=".json,application/json"
        onFile={(file) => void file?.text().then(read)}
      />
      <div role="status" className="quiet">
        {run === "wrong" && <p className="notice bad">{words.dropWrong}</p>}
        {run && run !== "wrong" && <Beside run={run} spec={spec} plan={plan} />}
      </div>
    </div>
  );
}

/** The run beside the plan. */
function Beside({ run, spec, plan }: RehearsalProps & { run: Rehearsed }) {
  const { texts, locale } = useLanguage();
  const words = texts.plan;
  const shown = (number: number) => count(number, locale);
  const { rollout } = run;
  const action = rollout?.action;
  const rows: [string, ReactNode, ReactNode][] = [
    [words.verdictRow, "", <strong key="verdict">{words.verdicts[run.verdict]}</strong>],
  ];
  if (rollout) {
    const broken = <strong key="broken">{shown(rollout.broken)}</strong>;
    rows.push(
      [words.targetsRow, shown(plan.targets), shown(rollout.targets)],
      [words.lastsRow, duration(plan.expected_s, locale), rollout.lastedS === undefined ? "–" : duration(rollout.lastedS, locale)],
      [words.stateRow, "", rollout.state],
      [words.installedRow, "", shown(rollout.installed)],
      [words.brokenRow, "", broken],
      [
        words.detectedRow,
        "",
        action ? words.byGate(decisionText(action.decision, texts), action.by, duration(action.afterS, locale)) : words.notDetected,
      ],
    );
  }
  return (
    <>
      {run.scenario !== scenarioName(spec.rollout_id) && <p className="notice warn">{words.dropOther(run.scenario)}</p>}
      {!rollout && <p className="notice warn">{words.dropNoRollout}</p>}
      <div className="scroll">
        <table>
          <thead>
            <tr>
              <td />
              <th scope="col">{words.plannedColumn}</th>
              <th scope="col">{words.ran}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([name, planned, rehearsed]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td>{planned}</td>
                <td>{rehearsed}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {run.expectations.length > 0 && <p className="soft">{words.expectations}</p>}
      <ul className="notices">
        {run.expectations.map((of) => (
          <li key={`${of.name} ${of.bound}`}>
            <span className={`badge ${of.pass ? "good" : "bad"}`}>{of.pass ? words.met : words.notMet}</span>{" "}
            <code>
              {of.name} {of.bound}
            </code>
            {of.actual !== null && `: ${new Intl.NumberFormat(locale, { maximumFractionDigits: 2 }).format(of.actual)}`}
          </li>
        ))}
      </ul>
    </>
  );
}
