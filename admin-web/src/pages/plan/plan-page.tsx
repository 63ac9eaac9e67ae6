/** A new rollout: what, to which devices, by which policy; then its plan, a rehearsal, and only then the start. */

import { useMutation, useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";

import { answer, api } from "../../api/client";
import { presenceQuery, releasesQuery, rolloutsQuery } from "../../api/queries";
import type { DeviceSelector, Policy, RolloutSpec } from "../../api/types";
import { AreaField, CheckField, ChoiceField, ReasonField, TextField } from "../../components/fields";
import { PageHead } from "../../components/page-head";
import { Problem } from "../../components/states";
import { useLanguage, useTexts } from "../../texts/language";
import { type PolicyDraft, policyOf, type Preset, PRESET_NAMES, PRESETS, selectorOf, type WhoDraft } from "./draft";
import { PlanView } from "./plan-view";
import { PolicyForm } from "./policy-form";
import { refusal } from "./refusal";
import { Rehearsal } from "./rehearsal";
import { Start } from "./start";

const route = getRouteApi("/rollouts/plan");

export function PlanPage() {
  const { texts: all, locale } = useLanguage();
  const texts = all.plan;
  const search = route.useSearch();
  const isHotfix = search.policy === "hotfix";
  const releases = useQuery(releasesQuery);
  const rollouts = useQuery(rolloutsQuery);
  const [release, setRelease] = useState(search.release ?? "");
  const [name, setName] = useState("");
  const [reason, setReason] = useState("");
  const [who, setWho] = useState<WhoDraft>({
    all: !isHotfix,
    site: "",
    model: "",
    label: "",
    firmware: search.firmware ?? "",
    ids: "",
  });
  const [preset, setPreset] = useState<Preset>(search.policy ?? "careful");
  const [policy, setPolicy] = useState<PolicyDraft>(PRESETS[preset]);
  const [wrong, setWrong] = useState("");

  const plan = useMutation({
    mutationFn: async (spec: RolloutSpec) => ({ spec, plan: await answer(api.POST("/api/rollouts/plan", { body: spec })) }),
  });
  const meant = policyOf(policy);
  const selector = selectorOf(who);
  const specOf = (policy: Policy, which: DeviceSelector): RolloutSpec => ({
    rollout_id: name.trim(),
    release_id: release,
    which,
    policy,
    reason: reason.trim(),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (plan.isPending) return;
    if ("missing" in meant) return setWrong(texts.wrong(fieldName(meant.missing, texts)));
    if (!selector) return setWrong(texts.nobody);
    // The server plans it again all the same, and refuses only its start.
    if (rollouts.data?.some((rollout) => rollout.rollout_id === name.trim())) return setWrong(texts.taken(name.trim()));
    setWrong("");
    plan.mutate(specOf(meant.policy, selector));
  };
  const isOutdated =
    plan.data !== undefined &&
    ("missing" in meant || !selector || JSON.stringify(specOf(meant.policy, selector)) !== JSON.stringify(plan.data.spec));
  const choices = [...(releases.data ?? [])].reverse().filter(({ state }) => state === "ACTIVE" || state === "STAGED");

  return (
    <>
      <PageHead title={isHotfix ? texts.hotfixTitle : texts.title} />
      {isHotfix && <p className="notice">{texts.hotfixText}</p>}
      <form className="form" onSubmit={submit}>
        <div className="columns">
          <section className="panel" aria-labelledby="what">
            <h2 id="what">{texts.what}</h2>
            {releases.data && choices.length === 0 && <p className="notice warn">{texts.noReleases}</p>}
            <ChoiceField
              name={texts.release}
              hint={texts.releaseHint}
              value={release}
              options={[
                ["", texts.choose],
                ...choices.map(({ release_id, version }) => [release_id, `${release_id} (${version})`] as const),
              ]}
              onChoose={setRelease}
            />
            <TextField name={texts.name} hint={texts.nameHint} required maxLength={64} value={name} onType={setName} />
            <ReasonField name={texts.reason} required value={reason} onType={setReason} />
          </section>
          <Who who={who} setWho={setWho} />
        </div>
        <section className="panel" aria-labelledby="policy">
          <h2 id="policy">{texts.policy}</h2>
          <ChoiceField
            name={texts.preset}
            value={preset}
            options={PRESET_NAMES.map((name) => [name, texts.presets[name]] as const)}
            onChoose={(chosen) => {
              setPreset(chosen);
              setPolicy({ ...PRESETS[chosen], rollBackTo: policy.rollBackTo });
            }}
          />
          <PolicyForm policy={policy} change={setPolicy} releases={choices} release={release} />
        </section>
        <div role="alert" className="quiet">
          {wrong !== "" && <p className="notice bad">{wrong}</p>}
          {wrong === "" && plan.error ? <Problem error={refusal(plan.error, texts, locale)} /> : null}
        </div>
        <div className="row">
          <button type="submit" className="primary" aria-disabled={plan.isPending}>
            {plan.isPending ? texts.planning : texts.make}
          </button>
          <span className="soft">{texts.nothingYet}</span>
        </div>
      </form>
      {plan.data && (
        <>
          <div role="status" className="quiet">
            {isOutdated && <p className="notice warn">{texts.outdated}</p>}
          </div>
          <PlanView {...plan.data} aside={<Start {...plan.data} isOutdated={isOutdated} />} />
          <Rehearsal {...plan.data} />
        </>
      )}
    </>
  );
}

/** The name of a field as it stands beside it. */
function fieldName(field: Exclude<ReturnType<typeof policyOf>, { policy: Policy }>["missing"], texts: ReturnType<typeof useTexts>["plan"]) {
  const names: Record<typeof field, string> = {
    share: texts.share,
    executed: texts.executed,
    bake: texts.bake,
    threshold: texts.threshold,
    confidence: texts.confidence,
    p0: texts.p0,
    p1: texts.p1,
    error: texts.error,
    inFlight: texts.inFlight,
    starts: texts.starts,
    siteShare: texts.siteShare,
    confirmMin: texts.confirm,
    progressMin: texts.progress,
    lostMin: texts.lost,
    waitDays: texts.wait,
    watchH: texts.watch,
    rollBackTo: texts.rollBackTo,
  };
  return names[field];
}

function Who({ who, setWho }: { who: WhoDraft; setWho: (who: WhoDraft) => void }) {
  const texts = useTexts().plan;
  const fleet = useQuery({ ...presenceQuery, refetchInterval: false });
  const set = (field: keyof WhoDraft) => (value: string) => setWho({ ...who, [field]: value });
  const choices = (byName: object | undefined, chosen: string) => {
    const names = Object.keys(byName ?? {}).filter((name) => name !== "");
    const all = chosen === "" || names.includes(chosen) ? names : [chosen, ...names];
    return [["", ""], ...all.map((name) => [name, name] as const)] as const;
  };
  return (
    <section className="panel" aria-labelledby="who">
      <h2 id="who">{texts.who}</h2>
      <CheckField name={texts.all} isChecked={who.all} onCheck={(all) => setWho({ ...who, all })} />
      {!who.all && (
        <>
          <p className="soft">{texts.whoHint}</p>
          <ChoiceField name={texts.site} value={who.site} options={choices(fleet.data?.sites, who.site)} onChoose={set("site")} />
          <ChoiceField name={texts.model} value={who.model} options={choices(fleet.data?.models, who.model)} onChoose={set("model")} />
          <ChoiceField
            name={texts.firmware}
            value={who.firmware}
            options={choices(fleet.data?.firmware, who.firmware)}
            onChoose={set("firmware")}
          />
          <TextField name={texts.label} value={who.label} onType={set("label")} />
          <AreaField name={texts.ids} hint={texts.idsHint} rows={3} value={who.ids} onType={set("ids")} />
        </>
      )}
    </section>
  );
}
