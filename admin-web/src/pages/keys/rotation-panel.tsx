/** A rotation as a guided flow: announce, wait, activate, wait, retire. What would strand devices is refused before it is asked for. */

import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { answer, api } from "../../api/client";
import type { KeysStatus } from "../../api/types";
import { useMe } from "../../app/session-gate";
import { ConfirmDialog } from "../../components/confirm-dialog";
import { count, share } from "../../format/number";
import type { Texts } from "../../texts/en";
import { useLanguage } from "../../texts/language";
import { DeviceLinks } from "./parts";
import { type Rotation, rotationOf, type Step, STEPS, strandedMax, verdictOf } from "./rotation";

/** A step that somebody is asked about. */
interface Asked {
  readonly step: Step;
  readonly force: boolean;
}

export function RotationPanel({ status }: { status: KeysStatus }) {
  const { texts: all } = useLanguage();
  const texts = all.keys;
  const me = useMe();
  const [asked, setAsked] = useState<Asked>();
  const rotation = rotationOf(status);
  const at = STEPS.indexOf(rotation.next);
  return (
    <section className="panel" aria-labelledby="rotation">
      <h2 id="rotation">{texts.rotation}</h2>
      <p className="soft">{texts.rotationText}</p>
      <ol className="steps">
        {STEPS.map((step, number) => {
          const state = number < at ? "done" : number === at ? "now" : "later";
          return (
            <li key={step} className={state} aria-current={state === "now" ? "step" : undefined}>
              <div className="row">
                <h3>{`${number + 1}. ${texts[step]}`}</h3>
                <span className={`badge ${state === "done" ? "good" : state === "now" ? "warn" : "calm"}`}>{texts[state]}</span>
              </div>
              <p className="soft">{texts[`${step}Text`]}</p>
              {state === "now" && step !== "announce" && <Readiness status={status} />}
              {state === "now" && me.role === "admin" && <Actions step={step} status={status} ask={setAsked} />}
            </li>
          );
        })}
      </ol>
      {asked && <StepDialog {...asked} status={status} rotation={rotation} close={() => setAsked(undefined)} />}
    </section>
  );
}

/** Who has confirmed the newest keyset, and who would be stranded. */
function Readiness({ status }: { status: KeysStatus }) {
  const { texts: all, locale } = useLanguage();
  const texts = all.keys;
  const { active_devices: active, confirmed_devices: confirmed, stranded_devices: stranded } = status;
  const verdict = verdictOf(status);
  const said = {
    nobody: () => texts.noActive,
    ready: () => texts.ready,
    few: () => texts.fewStranded(stranded, count(stranded, locale)),
    wait: () => texts.wait(stranded, count(stranded, locale), count(strandedMax(status), locale)),
  };
  const more = stranded - status.stranded_first.length;
  return (
    <>
      {active > 0 && (
        <div className="row">
          <meter min={0} max={active} value={confirmed} aria-label={texts.confirmedName} />
          <span>
            {texts.confirmedName}: {texts.confirmed(count(confirmed, locale), count(active, locale))} ({share(confirmed, active, locale)})
          </span>
        </div>
      )}
      <p role="status" className={`notice ${verdict === "ready" ? "good" : "warn"}`}>
        {said[verdict]()}
      </p>
      {stranded > 0 && (
        <details>
          <summary>{texts.whoStranded}</summary>
          <DeviceLinks devices={status.stranded_first} />
          {more > 0 && <p className="soft">{texts.andMore(count(more, locale))}</p>}
        </details>
      )}
    </>
  );
}

interface ActionsProps {
  readonly step: Step;
  readonly status: KeysStatus;
  readonly ask: (asked: Asked) => void;
}

function Actions({ step, status, ask }: ActionsProps) {
  const texts = useLanguage().texts.keys;
  const isRefused = step !== "announce" && verdictOf(status) === "wait";
  return (
    <div>
      {isRefused ? (
        <button type="button" className="link" onClick={() => ask({ step, force: true })}>
          {texts.force}
        </button>
      ) : (
        <button type="button" className="primary" onClick={() => ask({ step, force: false })}>
          {`${texts[`${step}Act`]}…`}
        </button>
      )}
    </div>
  );
}

interface StepDialogProps extends Asked {
  readonly status: KeysStatus;
  readonly rotation: Rotation;
  readonly close: () => void;
}

function StepDialog({ step, force, status, rotation, close }: StepDialogProps) {
  const { texts: all, locale } = useLanguage();
  const texts = all.keys;
  const queryClient = useQueryClient();
  // The page asks again while this is open; what is confirmed is what was there when it was opened.
  const [first] = useState({ status, rotation });
  const isOther = first.rotation.next !== rotation.next || first.status.keyset_version !== status.keyset_version;
  const { active_devices: active, stranded_devices: stranded } = first.status;
  const act = async (reason: string) => {
    const order = { body: { reason, force } };
    switch (step) {
      case "announce":
        return answer(api.POST("/api/keys/announce", order));
      case "activate":
        return answer(api.POST("/api/keys/activate", order));
      case "retire":
        return answer(api.POST("/api/keys/retire", order));
    }
  };
  return (
    <ConfirmDialog
      title={titleOf(step, first.rotation, texts)}
      actText={texts[`${step}Act`]}
      reason="required"
      {...(force ? { typed: String(stranded) } : {})}
      isReady={!isOther}
      act={act}
      onDone={() => void queryClient.invalidateQueries({ queryKey: ["keys"] })}
      close={close}
    >
      {isOther && <p className="notice warn">{texts.reload}</p>}
      <p>{step === "announce" ? texts.announceHits : texts[`${step}Text`]}</p>
      {step !== "announce" && <p>{texts.hits(active, count(active, locale))}</p>}
      {force && <p className="notice bad">{texts.forceHits(stranded, count(stranded, locale))}</p>}
      {!force && step !== "announce" && stranded > 0 && (
        <p className="notice warn">{texts.fewStranded(stranded, count(stranded, locale))}</p>
      )}
      {step !== "announce" && <p className="soft">{texts[`${step}After`]}</p>}
    </ConfirmDialog>
  );
}

function titleOf(step: Step, { announced, retired }: Rotation, texts: Texts["keys"]): string {
  switch (step) {
    case "announce":
      return texts.announceTitle;
    case "activate":
      return texts.activateTitle(announced?.key_id ?? "");
    case "retire":
      return texts.retireTitle(retired.map((key) => key.key_id).join(", "));
  }
}
