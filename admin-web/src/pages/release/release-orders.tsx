/** What can be done with a release in its state: stage, activate, revoke, roll out. */

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { answer, api } from "../../api/client";
import { presenceQuery, rolloutsQuery } from "../../api/queries";
import type { Release } from "../../api/types";
import { mayRelease } from "../../app/pages";
import { useMe } from "../../app/session-gate";
import { ConfirmDialog } from "../../components/confirm-dialog";
import { count } from "../../format/number";
import { useLanguage } from "../../texts/language";
import { registered } from "../../format/presence";
import { counts } from "../rollout/counts";

type Order = "stage" | "activate" | "revoke";

export function ReleaseOrders({ release }: { release: Release }) {
  const { texts } = useLanguage();
  const words = texts.releases;
  const me = useMe();
  const [asked, setAsked] = useState<Order>();
  if (!mayRelease(me.role)) return null;
  const close = () => setAsked(undefined);
  return (
    <span className="row">
      {release.state === "DRAFT" && (
        <button type="button" className="primary" onClick={() => setAsked("stage")}>
          {words.stage}
        </button>
      )}
      {release.state === "STAGED" && (
        <button type="button" className="primary" onClick={() => setAsked("activate")}>
          {words.activate}
        </button>
      )}
      {release.state === "ACTIVE" && (
        <Link className="button" to="/rollouts/plan" search={{ release: release.release_id }}>
          {words.rollOut}
        </Link>
      )}
      {release.state !== "REVOKED" && (
        <button type="button" onClick={() => setAsked("revoke")}>
          {words.revoke}
        </button>
      )}
      {asked === "stage" && <StageDialog release={release} close={close} />}
      {asked === "activate" && <ActivateDialog release={release} close={close} />}
      {asked === "revoke" && <RevokeDialog release={release} close={close} />}
    </span>
  );
}

interface DialogProps {
  readonly release: Release;
  readonly close: () => void;
}

/** Asks for what the order has changed. */
function useChanged(): () => void {
  const queryClient = useQueryClient();
  return () => {
    for (const key of ["releases", "rollouts"]) void queryClient.invalidateQueries({ queryKey: [key] });
  };
}

const path = (release: Release) => ({ path: { release_id: release.release_id } });

function StageDialog({ release, close }: DialogProps) {
  const words = useLanguage().texts.releases;
  return (
    <ConfirmDialog
      title={words.stageTitle(release.release_id)}
      actText={words.stageAct}
      reason="required"
      act={(reason) => answer(api.POST("/api/releases/{release_id}/stage", { params: path(release), body: { reason } }))}
      onDone={useChanged()}
      close={close}
    >
      <p>{release.signed ? words.stageOffline(release.key_id) : words.stageOnline(release.key_id)}</p>
    </ConfirmDialog>
  );
}

function ActivateDialog({ release, close }: DialogProps) {
  const { texts, locale } = useLanguage();
  const words = texts.releases;
  const fleet = useQuery(presenceQuery);
  const models = release.models.map((model) => fleet.data?.models[model]);
  const devices = models.reduce((sum, of) => sum + (of ? registered(of) : 0), 0);
  return (
    <ConfirmDialog
      title={words.activateTitle(release.release_id)}
      actText={words.activateAct}
      reason="required"
      isReady={fleet.data !== undefined}
      act={(reason) => answer(api.POST("/api/releases/{release_id}/activate", { params: path(release), body: { reason } }))}
      onDone={useChanged()}
      close={close}
    >
      <p>{fleet.data ? words.activateText(devices, count(devices, locale)) : texts.loading}</p>
    </ConfirmDialog>
  );
}

function RevokeDialog({ release, close }: DialogProps) {
  const { texts, locale } = useLanguage();
  const words = texts.releases;
  const fleet = useQuery(presenceQuery);
  const rollouts = useQuery(rolloutsQuery);
  const open = rollouts.data?.filter((rollout) => rollout.open && rollout.release_id === release.release_id) ?? [];
  const spared = open.reduce((sum, rollout) => sum + counts(rollout.updates).notYet, 0);
  const running = fleet.data?.firmware[release.version] ?? 0;
  const isReady = fleet.data !== undefined && rollouts.data !== undefined;
  return (
    <ConfirmDialog
      title={words.revokeTitle(release.release_id)}
      actText={words.revokeAct}
      reason="required"
      typed={release.release_id}
      isReady={isReady}
      act={(reason) => answer(api.POST("/api/releases/{release_id}/revoke", { params: path(release), body: { reason } }))}
      onDone={useChanged()}
      close={close}
    >
      <p>{words.revokeText}</p>
      {!isReady && <p>{texts.loading}</p>}
      {isReady && (
        <p>
          {open.length > 0
            ? words.revokeRollouts(open.map((rollout) => rollout.rollout_id).join(", "), spared, count(spared, locale))
            : words.revokeNoRollouts}
        </p>
      )}
      {isReady && running > 0 && <p>{words.revokeRunning(running, count(running, locale))}</p>}
    </ConfirmDialog>
  );
}
