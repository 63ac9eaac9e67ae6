/** A new key for a device, after which it starts over: it is whitelisted, and has to register again. */

import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { answer, api } from "../../api/client";
import type { DeviceDetails } from "../../api/types";
import { ConfirmDialog } from "../../components/confirm-dialog";
import { ifMatch } from "../../components/conflict";
import { TextField } from "../../components/fields";
import { useTexts } from "../../texts/language";
import { isPublicKey } from "../provisioning/inventory";

interface ReprovisionDialogProps {
  /** As it is when the dialog opens; the server refuses if it has changed since. */
  readonly device: DeviceDetails;
  readonly close: () => void;
}

export function ReprovisionDialog({ device, close }: ReprovisionDialogProps) {
  const [{ device_id, version, public_key: oldKey }] = useState(device);
  const texts = useTexts().device.reprovision;
  const queryClient = useQueryClient();
  const [key, setKey] = useState("");
  const public_key = key.trim();
  const isKey = isPublicKey(public_key);
  const isOld = public_key === oldKey;
  const reprovision = (reason: string) =>
    answer(
      api.POST("/api/devices/{device_id}/reprovision", {
        params: { path: { device_id }, header: ifMatch(version) },
        body: { public_key, reason },
      }),
    );
  return (
    <ConfirmDialog
      title={texts.title(device_id)}
      actText={texts.act}
      reason="required"
      typed={device_id}
      isReady={isKey && !isOld}
      act={reprovision}
      onDone={() => {
        for (const key of ["device", "devices", "presence"]) void queryClient.invalidateQueries({ queryKey: [key] });
      }}
      close={close}
    >
      <p className="notice warn">{texts.hits}</p>
      <p>{texts.keeps}</p>
      <TextField
        name={texts.key}
        hint={texts.keyHint}
        required
        className="mono"
        autoComplete="off"
        autoCapitalize="none"
        spellCheck={false}
        value={key}
        onType={setKey}
      />
      <div role="status" className="quiet">
        {public_key !== "" && !isKey && <p className="notice warn">{texts.noKey}</p>}
        {isOld && <p className="notice warn">{texts.sameKey}</p>}
      </div>
    </ConfirmDialog>
  );
}
