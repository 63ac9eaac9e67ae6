/** Editing a device's site and labels. What somebody else has changed meanwhile is shown beside what was typed, never overwritten. */

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useId, useState } from "react";
import { Dialog, Heading, Modal, ModalOverlay } from "react-aria-components";

import { answer, api } from "../../api/client";
import { ApiProblem } from "../../api/problem";
import type { DeviceDetails } from "../../api/types";
import { problemText } from "../../components/states";
import { useTexts } from "../../texts/language";

interface Editable {
  readonly site: string;
  readonly labels: string;
}

const editable = (device: DeviceDetails): Editable => ({ site: device.site, labels: device.labels.join("\n") });

/** Labels as typed, one in each line. */
export function labelsOf(typed: string): string[] {
  const lines = typed.split("\n").map((line) => line.trim());
  return [...new Set(lines.filter((line) => line !== ""))];
}

export function EditDialog({ device, close }: { device: DeviceDetails; close: () => void }) {
  const texts = useTexts();
  const queryClient = useQueryClient();
  const ids = { site: useId(), labels: useId(), hint: useId() };
  const [typed, setTyped] = useState(() => editable(device));
  // The page asks again while this is open; what is saved is a change of what the person has seen.
  const [seen, setSeen] = useState(device);
  const path = { device_id: device.device_id };

  const save = useMutation({
    mutationFn: async () => {
      const body = { site: typed.site.trim(), labels: labelsOf(typed.labels) };
      const header = { "If-Match": `"${seen.version}"` };
      return answer(api.PATCH("/api/devices/{device_id}", { params: { path, header }, body }));
    },
    onSuccess: async () => {
      await queryClient.invalidateQueries({ queryKey: ["device", device.device_id] });
      void queryClient.invalidateQueries({ queryKey: ["devices"] });
      close();
    },
  });
  const isConflict = save.error instanceof ApiProblem && save.error.status === 412;
  const theirs = useMutation({
    mutationFn: () => answer(api.GET("/api/devices/{device_id}", { params: { path } })),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (save.isPending) return;
    save.mutate(undefined, {
      onError: (error) => error instanceof ApiProblem && error.status === 412 && theirs.mutate(),
    });
  };
  const resolve = (next: DeviceDetails, keepMine: boolean) => {
    setSeen(next);
    if (!keepMine) setTyped(editable(next));
    save.reset();
    theirs.reset();
  };

  return (
    <ModalOverlay className="overlay" isOpen onOpenChange={(isOpen) => !isOpen && close()}>
      <Modal>
        <Dialog className="dialog">
          <form className="form" onSubmit={submit}>
            <Heading slot="title" level={2}>
              {texts.device.editTitle}
            </Heading>
            <div className="field">
              <label htmlFor={ids.site}>{texts.devices.site}</label>
              <input
                id={ids.site}
                autoFocus
                required
                maxLength={128}
                value={typed.site}
                onChange={(event) => setTyped({ ...typed, site: event.target.value })}
              />
            </div>
            <div className="field">
              <label htmlFor={ids.labels}>{texts.devices.labels}</label>
              <textarea
                id={ids.labels}
                rows={4}
                aria-describedby={ids.hint}
                value={typed.labels}
                onChange={(event) => setTyped({ ...typed, labels: event.target.value })}
              />
              <span id={ids.hint} className="label">
                {texts.device.labelsHint}
              </span>
            </div>
            <div role="alert">
              {isConflict && <p className="notice warn">{texts.device.conflict}</p>}
              {save.error && !isConflict && <p className="notice bad">{problemText(save.error, texts)}</p>}
            </div>
            {isConflict && theirs.data && <Conflict theirs={theirs.data} mine={typed} resolve={resolve} />}
            {!isConflict && (
              <div className="row">
                <button type="submit" className="primary" aria-disabled={save.isPending}>
                  {save.isPending ? texts.device.saving : texts.device.save}
                </button>
                <button type="button" onClick={close}>
                  {texts.device.cancel}
                </button>
              </div>
            )}
          </form>
        </Dialog>
      </Modal>
    </ModalOverlay>
  );
}

interface ConflictProps {
  readonly theirs: DeviceDetails;
  readonly mine: Editable;
  readonly resolve: (next: DeviceDetails, keepMine: boolean) => void;
}

/** Both versions, and which one goes on. */
function Conflict({ theirs, mine, resolve }: ConflictProps) {
  const texts = useTexts();
  const shown = (what: Editable) => [what.site, ...labelsOf(what.labels)].join(", ");
  return (
    <>
      <dl className="facts">
        <div>
          <dt>{texts.device.conflictTheirs}</dt>
          <dd>{shown(editable(theirs))}</dd>
        </div>
        <div>
          <dt>{texts.device.conflictMine}</dt>
          <dd>{shown(mine)}</dd>
        </div>
      </dl>
      <div className="row">
        <button type="button" className="primary" onClick={() => resolve(theirs, false)}>
          {texts.device.takeTheirs}
        </button>
        <button type="button" onClick={() => resolve(theirs, true)}>
          {texts.device.keepMine}
        </button>
      </div>
    </>
  );
}
