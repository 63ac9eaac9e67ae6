/** The fields of a policy: stages, gates, pace. */

import type { ReactNode } from "react";

import type { Release } from "../../api/types";
import { ChoiceField, TextField } from "../../components/fields";
import { useTexts } from "../../texts/language";
import { type GateDraft, newGate, newStage, type PolicyDraft, type StageDraft } from "./draft";

/** As many as the server takes. */
const ROWS_MAX = 20;

interface PolicyFormProps {
  readonly policy: PolicyDraft;
  readonly change: (policy: PolicyDraft) => void;
  readonly releases: readonly Release[];
  /** The release that is rolled out. */
  readonly release: string;
}

export function PolicyForm({ policy, change, releases, release }: PolicyFormProps) {
  const texts = useTexts().plan;
  const { stages, gates } = policy;
  const replaced = <Row,>(rows: readonly Row[], at: number, row: Row) => rows.map((old, index) => (index === at ? row : old));
  const without = <Row,>(rows: readonly Row[], at: number) => rows.filter((_, index) => index !== at);
  const set = (field: keyof PolicyDraft) => (typed: string) => change({ ...policy, [field]: typed });
  const counter = releases.find(({ release_id }) => release_id === release)?.release_counter ?? Infinity;
  const backs = releases.filter((other) => other.state === "ACTIVE" && other.release_counter > counter);
  return (
    <>
      <h3>{texts.stages}</h3>
      {stages.map((stage, at) => (
        <Row
          // Stages have no name but their place.
          key={`stage ${at}`}
          name={texts.stageNumber(String(at + 1))}
          removeText={texts.removeStage(String(at + 1))}
          remove={stages.length > 1 ? () => change({ ...policy, stages: without(stages, at) }) : undefined}
        >
          <StageFields stage={stage} change={(row) => change({ ...policy, stages: replaced(stages, at, row) })} />
        </Row>
      ))}
      {stages.length < ROWS_MAX && (
        <div>
          <button type="button" onClick={() => change({ ...policy, stages: [...stages, newStage("100", "1")] })}>
            {texts.addStage}
          </button>
        </div>
      )}
      <h3>{texts.gates}</h3>
      {gates.map((gate, at) => (
        <Row
          key={`gate ${at}`}
          name={texts.gateNumber(String(at + 1))}
          removeText={texts.removeGate(String(at + 1))}
          remove={gates.length > 1 ? () => change({ ...policy, gates: without(gates, at) }) : undefined}
        >
          <GateFields gate={gate} change={(row) => change({ ...policy, gates: replaced(gates, at, row) })} />
        </Row>
      ))}
      {gates.length < ROWS_MAX && (
        <div>
          <button type="button" onClick={() => change({ ...policy, gates: [...gates, newGate()] })}>
            {texts.addGate}
          </button>
        </div>
      )}
      <details>
        <summary>{texts.pace}</summary>
        <div className="fields">
          <NumberField name={texts.inFlight} value={policy.inFlight} onType={set("inFlight")} />
          <NumberField name={texts.starts} value={policy.starts} onType={set("starts")} />
          <NumberField name={texts.siteShare} hint={texts.siteShareHint} value={policy.siteShare} onType={set("siteShare")} />
          <NumberField name={texts.confirm} value={policy.confirmMin} onType={set("confirmMin")} />
          <NumberField name={texts.progress} value={policy.progressMin} onType={set("progressMin")} />
          <NumberField name={texts.lost} value={policy.lostMin} onType={set("lostMin")} />
          <NumberField name={texts.wait} value={policy.waitDays} onType={set("waitDays")} />
          <NumberField name={texts.watch} value={policy.watchH} onType={set("watchH")} />
          <ChoiceField
            name={texts.rollBackTo}
            value={policy.rollBackTo}
            options={[["", texts.noRollBack], ...backs.map(({ release_id }) => [release_id, release_id] as const)]}
            onChoose={set("rollBackTo")}
          />
        </div>
      </details>
    </>
  );
}

interface RowProps {
  readonly name: string;
  readonly removeText: string;
  readonly remove: (() => void) | undefined;
  readonly children: ReactNode;
}

function Row({ name, removeText, remove, children }: RowProps) {
  return (
    <div role="group" aria-label={name} className="fields">
      <strong className="name">{name}</strong>
      {children}
      {remove && (
        <button type="button" className="link" onClick={remove}>
          {removeText}
        </button>
      )}
    </div>
  );
}

interface NumberFieldProps {
  readonly name: string;
  readonly hint?: string;
  readonly value: string;
  readonly onType: (typed: string) => void;
}

function NumberField(props: NumberFieldProps) {
  return <TextField {...props} type="number" min={0} step="any" inputMode="decimal" />;
}

function StageFields({ stage, change }: { stage: StageDraft; change: (stage: StageDraft) => void }) {
  const texts = useTexts();
  const set = (field: keyof StageDraft) => (typed: string) => change({ ...stage, [field]: typed });
  return (
    <>
      <NumberField name={texts.plan.share} value={stage.share} onType={set("share")} />
      <NumberField name={texts.plan.executed} value={stage.executed} onType={set("executed")} />
      <NumberField name={texts.plan.bake} value={stage.bakeH} onType={set("bakeH")} />
      <ChoiceField
        name={texts.plan.approval}
        value={stage.approval}
        options={[
          ["auto", texts.rollouts.auto],
          ["manual", texts.rollouts.manual],
        ]}
        onChoose={set("approval")}
      />
    </>
  );
}

function GateFields({ gate, change }: { gate: GateDraft; change: (gate: GateDraft) => void }) {
  const texts = useTexts().plan;
  const set = (field: keyof GateDraft) => (typed: string) => change({ ...gate, [field]: typed });
  const options = <Value extends string>(names: Record<Value, string>) => Object.entries(names) as [Value, string][];
  return (
    <>
      <NumberField name={texts.threshold} value={gate.threshold} onType={set("threshold")} />
      <NumberField name={texts.gateExecuted} value={gate.executed} onType={set("executed")} />
      <ChoiceField name={texts.scope} value={gate.scope} options={options(texts.scopes)} onChoose={set("scope")} />
      <ChoiceField name={texts.test} value={gate.test} options={options(texts.tests)} onChoose={set("test")} />
      {gate.test === "clopper_pearson" && (
        <NumberField name={texts.confidence} value={gate.confidence} onType={set("confidence")} />
      )}
      {gate.test === "sprt" && (
        <>
          <NumberField name={texts.p0} value={gate.p0} onType={set("p0")} />
          <NumberField name={texts.p1} value={gate.p1} onType={set("p1")} />
          <NumberField name={texts.error} value={gate.error} onType={set("error")} />
        </>
      )}
      <ChoiceField name={texts.action} value={gate.action} options={options(texts.actions)} onChoose={set("action")} />
    </>
  );
}
