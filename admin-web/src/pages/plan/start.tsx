/** The start of what was planned: the only button here that changes anything. */

import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";

import { answer, api } from "../../api/client";
import type { Plan, RolloutSpec } from "../../api/types";
import { ConfirmDialog } from "../../components/confirm-dialog";
import { count } from "../../format/number";
import { useLanguage } from "../../texts/language";

interface StartProps {
  readonly spec: RolloutSpec;
  readonly plan: Plan;
  readonly isOutdated: boolean;
}

export function Start({ spec, plan, isOutdated }: StartProps) {
  const { texts, locale } = useLanguage();
  const words = texts.plan;
  const navigate = useNavigate();
  const queryClient = useQueryClient();
  const [isAsked, setAsked] = useState(false);
  const first = plan.stages[0]?.adds ?? 0;
  const { rollout_id: rolloutId, release_id: release } = spec;
  return (
    <>
      <button type="button" className="primary" aria-disabled={isOutdated} onClick={() => !isOutdated && setAsked(true)}>
        {words.start}
      </button>
      {isAsked && (
        <ConfirmDialog
          title={words.startTitle(rolloutId)}
          actText={words.startAct}
          typed={rolloutId}
          act={() => answer(api.POST("/api/rollouts", { body: spec }))}
          onDone={() => {
            void queryClient.invalidateQueries({ queryKey: ["rollouts"] });
            void navigate({ to: "/rollouts/$rolloutId", params: { rolloutId } });
          }}
          close={() => setAsked(false)}
        >
          <p>{words.startText(first, count(first, locale), release)}</p>
          <p>{words.startAll(plan.targets, count(plan.targets, locale))}</p>
        </ConfirmDialog>
      )}
    </>
  );
}
