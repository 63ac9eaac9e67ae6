/** Orders to a rollout. Each says how many devices it hits before it is given, and names the stage and revision that were seen. */

import { useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { answer, api } from "../../api/client";
import type { Rollout } from "../../api/types";
import { mayOperate, mayRelease } from "../../app/pages";
import { useMe } from "../../app/session-gate";
import { ConfirmDialog } from "../../components/confirm-dialog";
import { count, share } from "../../format/number";
import { useLanguage } from "../../texts/language";
import { counts } from "./counts";
import { type Order, possible } from "./possible";

export function Orders({ rollout }: { rollout: Rollout }) {
  const { texts } = useLanguage();
  const words = texts.rollouts.order;
  const me = useMe();
  const [asked, setAsked] = useState<{ order: Order; seen: Rollout }>();
  const orders = possible(rollout, { stop: mayOperate(me.role), proceed: mayRelease(me.role) });
  return (
    <span className="row">
      {orders.map((order) => (
        <button
          key={order}
          type="button"
          className={order === "approve" || order === "resume" ? "primary" : ""}
          onClick={() => setAsked({ order, seen: rollout })}
        >
          {words[order]}
        </button>
      ))}
      {(rollout.status === "ABORTED" || rollout.status === "COMPLETED") && mayRelease(me.role) && (
        <Link className="button" to="/rollouts/plan" search={{ policy: "hotfix", firmware: rollout.version }}>
          {words.hotfix}
        </Link>
      )}
      {asked && <OrderDialog {...asked} close={() => setAsked(undefined)} />}
    </span>
  );
}

interface OrderDialogProps {
  readonly order: Order;
  /** The rollout as it was when the person decided; the server refuses orders about what has changed since. */
  readonly seen: Rollout;
  readonly close: () => void;
}

function OrderDialog({ order, seen, close }: OrderDialogProps) {
  const { texts } = useLanguage();
  const words = texts.rollouts.order;
  const queryClient = useQueryClient();
  const params = { path: { rollout_id: seen.rollout_id } };
  const about = { stage: seen.stage, revision: seen.revision };
  const act = (reason: string) => {
    switch (order) {
      case "approve":
        return answer(api.POST("/api/rollouts/{rollout_id}/approve", { params, body: { reason, ...about } }));
      case "resume":
        return answer(api.POST("/api/rollouts/{rollout_id}/resume", { params, body: { reason, ...about } }));
      // An order to stop must not fail because something was decided in between.
      case "pause":
        return answer(api.POST("/api/rollouts/{rollout_id}/pause", { params, body: { reason } }));
      case "abort":
        return answer(api.POST("/api/rollouts/{rollout_id}/abort", { params, body: { reason, roll_back: false } }));
      case "rollBack":
        return answer(api.POST("/api/rollouts/{rollout_id}/abort", { params, body: { reason, roll_back: true } }));
    }
  };
  const isFinal = order === "abort" || order === "rollBack";
  return (
    <ConfirmDialog
      title={words[`${order}Title`](seen.rollout_id)}
      actText={words[`${order}Act`]}
      reason="required"
      {...(isFinal ? { typed: seen.rollout_id } : {})}
      act={act}
      onDone={() => void queryClient.invalidateQueries({ queryKey: ["rollouts"] })}
      close={close}
    >
      <Hits order={order} rollout={seen} />
    </ConfirmDialog>
  );
}

/** How many devices the order hits. */
function Hits({ order, rollout }: { order: Order; rollout: Rollout }) {
  const { texts, locale } = useLanguage();
  const words = texts.rollouts.order;
  const shown = (devices: number) => count(devices, locale);
  const all = counts(rollout.updates);
  const flying = shown(all.inFlight);
  const stage = counts(rollout.updates_by_stage[rollout.stage] ?? {});
  const taken = all.confirmed + (rollout.updates["CONFIRMING"] ?? 0);
  switch (order) {
    case "approve": {
      const next = rollout.policy.stages[rollout.stage + 1];
      if (!next) return <p>{words.approveLast}</p>;
      const adds = counts(rollout.updates_by_stage[rollout.stage + 1] ?? {}).all;
      return <p>{words.approveNext(shown(rollout.stage + 2), adds, shown(adds), share(next.share_bp, 10_000, locale))}</p>;
    }
    case "resume":
      return <p>{words.resumeText(stage.notYet, shown(stage.notYet))}</p>;
    case "pause":
      return <p>{words.pauseText(all.notYet, shown(all.notYet), flying)}</p>;
    case "abort":
      return (
        <>
          <p>{words.abortText(all.notYet, shown(all.notYet), flying)}</p>
          <p>{words.abortKeep(taken, shown(taken))}</p>
        </>
      );
    case "rollBack": {
      const back = taken + (rollout.updates["LOST"] ?? 0);
      return (
        <>
          <p>{words.abortText(all.notYet, shown(all.notYet), flying)}</p>
          <p>{words.rollBackText(back, shown(back), rollout.policy.roll_back_to ?? "")}</p>
        </>
      );
    }
  }
}
