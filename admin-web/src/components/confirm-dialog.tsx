/** Asks before something dangerous is done: says what it hits, and takes a reason and a typed word where the action needs them. */

import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";

import { useTexts } from "../texts/language";
import { ReasonField, TextField } from "./fields";
import { FormDialog } from "./form-dialog";

interface ConfirmDialogProps {
  readonly title: string;
  /** What it hits and what can't be undone: sentences, with counts from the API. */
  readonly children: ReactNode;
  /** The word on the button: what it does, never "OK". */
  readonly actText: string;
  /** Asks for a reason. */
  readonly reason?: "required" | "optional";
  /** Has to be typed, such as the number of devices that are hit or a name. */
  readonly typed?: string;
  /** False as long as the blast radius is not known, or another field of `children` is empty. */
  readonly isReady?: boolean;
  readonly isWide?: boolean;
  /** The call; its failure is shown in the dialog, which stays open. */
  readonly act: (reason: string) => Promise<unknown>;
  /** After a success; `close` is called as well. */
  readonly onDone?: () => void;
  readonly close: () => void;
}

export function ConfirmDialog(props: ConfirmDialogProps) {
  const { title, children, actText, reason, typed, isReady = true, isWide = false, act, onDone, close } = props;
  const texts = useTexts().dialog;
  const [why, setWhy] = useState("");
  const [word, setWord] = useState("");
  const action = useMutation({
    mutationFn: () => act(why.trim()),
    onSuccess: () => {
      onDone?.();
      close();
    },
  });
  const isComplete = isReady && (reason !== "required" || why.trim() !== "") && (typed === undefined || word.trim() === typed);
  return (
    <FormDialog
      title={title}
      submitText={actText}
      isBusy={action.isPending}
      isComplete={isComplete}
      isDangerous
      isWide={isWide}
      error={action.error}
      submit={() => action.mutate()}
      close={close}
    >
      {children}
      {reason && (
        <ReasonField
          name={texts.reason}
          hint={texts.reasonHint}
          autoFocus
          required={reason === "required"}
          value={why}
          onType={setWhy}
        />
      )}
      {typed !== undefined && (
        <TextField
          name={texts.typeToConfirm(typed)}
          autoFocus={!reason}
          required
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          value={word}
          onType={setWord}
        />
      )}
    </FormDialog>
  );
}
