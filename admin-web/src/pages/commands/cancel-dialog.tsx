/** Canceling a command; of one that may be with its device already, with a word about that. */

import { useQueryClient } from "@tanstack/react-query";

import { answer, api } from "../../api/client";
import type { Command } from "../../api/types";
import { ConfirmDialog } from "../../components/confirm-dialog";
import { useTexts } from "../../texts/language";

export function CancelDialog({ command, close }: { command: Command; close: () => void }) {
  const texts = useTexts().commands;
  const queryClient = useQueryClient();
  const isWithDevice = command.state !== "QUEUED";
  const cancel = async () => {
    const path = { command_id: command.command_id };
    try {
      await answer(api.POST("/api/commands/{command_id}/cancel", { params: { path }, body: { force: isWithDevice } }));
    } finally {
      for (const queryKey of [["commands"], ["device", command.device_id]]) void queryClient.invalidateQueries({ queryKey });
    }
  };
  return (
    <ConfirmDialog title={texts.cancelTitle} actText={texts.cancel} act={cancel} close={close}>
      <p>{texts.cancelText(command.kind, command.device_id)}</p>
      {isWithDevice && <p className="notice warn">{texts.cancelLate}</p>}
    </ConfirmDialog>
  );
}
