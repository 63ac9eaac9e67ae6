/** A key has leaked: choose it, have a successor, revoke it, and what is left to do. Unlike a rotation it waits for nobody. */

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { answer, api } from "../../api/client";
import type { KeysStatus, ServerKey } from "../../api/types";
import { ConfirmDialog } from "../../components/confirm-dialog";
import { PageHead } from "../../components/page-head";
import { Loaded } from "../../components/states";
import { count } from "../../format/number";
import { useLanguage, useTexts } from "../../texts/language";
import { KeyBadge, watchedKeysQuery } from "./parts";
import { rotationOf } from "./rotation";

export function CompromisedPage() {
  const texts = useTexts().keys;
  const keys = useQuery(watchedKeysQuery);
  return (
    <>
      <PageHead title={texts.compromised} aside={<Link to="/server-keys">{texts.toKeys}</Link>} />
      <p className="notice bad">{texts.compromisedText}</p>
      <Loaded query={keys}>{(status) => <Flow status={status} />}</Loaded>
    </>
  );
}

function Flow({ status }: { status: KeysStatus }) {
  const { texts: all, locale } = useLanguage();
  const texts = all.keys;
  const queryClient = useQueryClient();
  const [chosenId, choose] = useState("");
  const [asked, setAsked] = useState<"announce" | "revoke">();
  const [revoked, setRevoked] = useState("");
  const keys = status.keys.filter((key) => key.status !== "REMOVED");
  const chosen = keys.find((key) => key.key_id === chosenId);
  const { announced } = rotationOf(status);
  const needsSuccessor = chosen?.status === "SIGNING" && !announced;
  const refresh = () => void queryClient.invalidateQueries({ queryKey: ["keys"] });
  const stranded = status.stranded_devices;
  return (
    <>
      <section className="panel" aria-labelledby="which">
        <h2 id="which">{texts.which}</h2>
        <div role="status" className="quiet">
          {revoked && <p className="notice good">{texts.revoked(revoked)}</p>}
        </div>
        {keys.length === 0 && <p className="soft">{texts.nothingToRevoke}</p>}
        <div className="form" role="radiogroup" aria-labelledby="which">
          {keys.map((key) => (
            <label key={key.key_id} className="check">
              <input type="radio" name="key" checked={key.key_id === chosenId} onChange={() => choose(key.key_id)} />
              <code>{key.key_id}</code>
              <KeyBadge status={key.status} />
            </label>
          ))}
        </div>
      </section>
      {chosen && (
        <section className="panel" aria-labelledby="successor">
          <h2 id="successor">{texts.successor}</h2>
          <Successor chosen={chosen} announced={announced} />
          {needsSuccessor && (
            <div>
              <button type="button" className="primary" onClick={() => setAsked("announce")}>
                {`${texts.announceAct}…`}
              </button>
            </div>
          )}
        </section>
      )}
      {chosen && !needsSuccessor && (
        <section className="panel" aria-labelledby="revoke">
          <h2 id="revoke">{texts.revoke}</h2>
          <p>{texts.revokeHits(stranded, count(stranded, locale))}</p>
          <div>
            <button type="button" className="danger" onClick={() => setAsked("revoke")}>
              {texts.revokeButton(chosen.key_id)}
            </button>
          </div>
        </section>
      )}
      <section className="panel" aria-labelledby="after">
        <h2 id="after">{texts.after}</h2>
        <ul className="bullets">
          {texts.afterSteps.map((step) => (
            <li key={step}>{step}</li>
          ))}
        </ul>
      </section>
      {asked === "announce" && (
        <ConfirmDialog
          title={texts.announceTitle}
          actText={texts.announceAct}
          reason="required"
          act={(reason) => answer(api.POST("/api/keys/announce", { body: { reason, force: false } }))}
          onDone={refresh}
          close={() => setAsked(undefined)}
        >
          <p>{texts.announceHits}</p>
        </ConfirmDialog>
      )}
      {asked === "revoke" && chosen && (
        <ConfirmDialog
          title={texts.revokeTitle(chosen.key_id)}
          actText={texts.revokeAct}
          reason="required"
          typed={chosen.key_id}
          act={(reason) => answer(api.POST("/api/keys/revoke", { body: { key_id: chosen.key_id, reason } }))}
          onDone={() => {
            setRevoked(chosen.key_id);
            choose("");
            refresh();
          }}
          close={() => setAsked(undefined)}
        >
          <p className="notice bad">{texts.revokeHits(stranded, count(stranded, locale))}</p>
          {chosen.status === "SIGNING" && <p>{texts.revokeSigning}</p>}
          {chosen.status === "FIRMWARE" && <p>{texts.revokeFirmware}</p>}
        </ConfirmDialog>
      )}
    </>
  );
}

function Successor({ chosen, announced }: { chosen: ServerKey; announced: ServerKey | undefined }) {
  const texts = useTexts().keys;
  if (chosen.status !== "SIGNING") return <p>{texts.successorNotNeeded}</p>;
  if (!announced) return <p className="notice warn">{texts.successorNeeded}</p>;
  return (
    <>
      <p className="notice good">{texts.successorThere(announced.key_id)}</p>
      <p className="soft">{texts.successorMissing}</p>
    </>
  );
}
