/** Editing a device's site and labels. */

import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { answer, api } from "../../api/client";
import type { DeviceDetails } from "../../api/types";
import { Conflict, ifMatch, useGuardedSave } from "../../components/conflict";
import { AreaField, TextField } from "../../components/fields";
import { FormDialog } from "../../components/form-dialog";
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

const shown = (what: Editable) => [what.site, ...labelsOf(what.labels)].join(", ");

export function EditDialog({ device, close }: { device: DeviceDetails; close: () => void }) {
  const texts = useTexts();
  const queryClient = useQueryClient();
  const [typed, setTyped] = useState(() => editable(device));
  const path = { device_id: device.device_id };

  const { submit, isBusy, error, theirs, resolve } = useGuardedSave({
    first: device,
    save: (seen) => {
      const body = { site: typed.site.trim(), labels: labelsOf(typed.labels) };
      return answer(api.PATCH("/api/devices/{device_id}", { params: { path, header: ifMatch(seen.version) }, body }));
    },
    readAgain: () => answer(api.GET("/api/devices/{device_id}", { params: { path } })),
    onSaved: async () => {
      await queryClient.invalidateQueries({ queryKey: ["device", device.device_id] });
      void queryClient.invalidateQueries({ queryKey: ["devices"] });
      close();
    },
  });
  const conflict = theirs && (
    <Conflict
      theirs={shown(editable(theirs))}
      mine={shown(typed)}
      takeTheirs={() => {
        setTyped(editable(theirs));
        resolve();
      }}
      keepMine={resolve}
    />
  );

  return (
    <FormDialog
      title={texts.device.editTitle}
      submitText={texts.dialog.save}
      busyText={texts.dialog.saving}
      isBusy={isBusy}
      error={error}
      instead={conflict}
      submit={submit}
      close={close}
    >
      <TextField
        name={texts.devices.site}
        autoFocus
        required
        maxLength={128}
        value={typed.site}
        onType={(site) => setTyped({ ...typed, site })}
      />
      <AreaField
        name={texts.devices.labels}
        hint={texts.device.labelsHint}
        value={typed.labels}
        onType={(labels) => setTyped({ ...typed, labels })}
      />
    </FormDialog>
  );
}
