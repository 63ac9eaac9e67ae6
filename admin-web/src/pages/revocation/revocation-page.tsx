/** Revoking devices: which ones, how many that are, why, and a word typed against a slip. */

import { useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useState } from "react";

import { answer, api } from "../../api/client";
import type { DeviceSelector, SelectedPresence } from "../../api/types";
import { ConfirmDialog } from "../../components/confirm-dialog";
import { PageHead } from "../../components/page-head";
import { checkReach, Reach, useSelected } from "../../components/selection/reach";
import { hits, type Selection, selectionOf, wordOf } from "../../components/selection/selection";
import { SelectionFields } from "../../components/selection/selection-fields";
import { count } from "../../format/number";
import { useLanguage } from "../../texts/language";

const route = getRouteApi("/revocation");

/** What was asked for when the dialog was opened; the page may count again meanwhile. */
interface Asked {
  readonly which: DeviceSelector;
  readonly selected: SelectedPresence;
  readonly selection: Selection;
}

interface Done {
  readonly revoked: number;
  readonly selection: Selection;
}

export function RevocationPage() {
  const { texts, locale } = useLanguage();
  const search = route.useSearch();
  const [selection, setSelection] = useState(() => selectionOf(search));
  const [asked, setAsked] = useState<Asked>();
  const [done, setDone] = useState<Done>();
  const reach = useSelected(selection);
  const { which, selected } = reach;
  const isReady = selected !== undefined && hits(selected) > 0;
  return (
    <>
      <PageHead title={texts.revocation.title} />
      <div role="status" className="quiet">
        {done && (
          <p className="notice good">
            {texts.revocation.done(done.revoked, count(done.revoked, locale))} <SeeDevices selection={done.selection} />
          </p>
        )}
      </div>
      <p className="notice">{texts.revocation.about}</p>
      <form
        className="panel form"
        onSubmit={(event) => {
          event.preventDefault();
          if (which && selected && isReady) setAsked({ which, selected, selection });
        }}
      >
        <SelectionFields selection={selection} onChange={setSelection} />
        <div>
          <button type="submit" className="danger" aria-disabled={!isReady}>
            {texts.revocation.review}
          </button>
        </div>
      </form>
      <Reach selection={selection} {...reach} says={texts.revocation.reaches} />
      {asked && <RevokeDialog asked={asked} onDone={setDone} close={() => setAsked(undefined)} />}
    </>
  );
}

/** The devices of the selection in their list; none of ids, which the list has no filter for. */
function SeeDevices({ selection }: { selection: Selection }) {
  const { texts } = useLanguage();
  const { device_ids, ...fields } = selection;
  const search = Object.fromEntries(Object.entries(fields).filter(([, text]) => text !== ""));
  if (device_ids !== "") return null;
  return (
    <Link to="/devices" search={{ ...search, status: "REVOKED" }}>
      {texts.revocation.see}
    </Link>
  );
}

interface RevokeDialogProps {
  readonly asked: Asked;
  readonly onDone: (done: Done) => void;
  readonly close: () => void;
}

function RevokeDialog({ asked, onDone, close }: RevokeDialogProps) {
  const { texts, locale } = useLanguage();
  const queryClient = useQueryClient();
  const { which, selected, selection } = asked;
  const devices = hits(selected);
  const revoke = async (reason: string) => {
    await checkReach(which, selected, texts);
    const { revoked } = await answer(api.POST("/api/devices/revoke", { body: { which, reason } }));
    onDone({ revoked, selection });
    for (const key of ["presence", "devices", "device", "selected"]) void queryClient.invalidateQueries({ queryKey: [key] });
  };
  return (
    <ConfirmDialog
      title={texts.revocation.confirmTitle(devices, count(devices, locale))}
      actText={texts.revocation.act}
      reason="required"
      typed={wordOf(selection, selected)}
      act={revoke}
      close={close}
    >
      <p className="notice bad">{texts.revocation.reaches(devices, count(devices, locale))}</p>
      <p>{texts.revocation.final}</p>
    </ConfirmDialog>
  );
}
