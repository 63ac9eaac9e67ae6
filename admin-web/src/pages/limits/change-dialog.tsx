/** Applying a limits file. What somebody else has applied meanwhile is shown beside it, never overwritten. */

import { useState } from "react";

import { answer, api } from "../../api/client";
import type { LimitsStatus } from "../../api/types";
import { Conflict, ifMatch, useGuardedSave } from "../../components/conflict";
import { AreaField } from "../../components/fields";
import { FormDialog } from "../../components/form-dialog";
import { useTexts } from "../../texts/language";
import { Concerned } from "./concerned";

interface ChangeDialogProps {
  readonly status: LimitsStatus;
  readonly onSaved: () => unknown;
  readonly close: () => void;
}

export function ChangeDialog({ status, onSaved, close }: ChangeDialogProps) {
  const texts = useTexts().limits;
  const fileOf = (status: LimitsStatus) => status.document ?? texts.example;
  const [typed, setTyped] = useState(() => fileOf(status));
  const save = useGuardedSave({
    first: status,
    save: (seen) =>
      answer(
        api.PUT("/api/limits", {
          params: { header: ifMatch(seen.version) },
          // A file that ends within a number is refused, because it may have been cut off.
          body: typed.endsWith("\n") ? typed : `${typed}\n`,
          bodySerializer: (body) => body,
          headers: { "Content-Type": "application/toml" },
        }),
      ),
    readAgain: () => answer(api.GET("/api/limits")),
    onSaved: async () => {
      await onSaved();
      close();
    },
  });
  const { theirs } = save;
  return (
    <FormDialog
      title={texts.changeTitle}
      submitText={texts.apply}
      isBusy={save.isBusy}
      isComplete={typed.trim() !== ""}
      isDangerous
      isWide
      error={save.error}
      instead={
        theirs && (
          <Conflict
            theirs={<pre className="file">{fileOf(theirs)}</pre>}
            mine={<pre className="file">{typed}</pre>}
            takeTheirs={() => {
              setTyped(fileOf(theirs));
              save.resolve();
            }}
            keepMine={save.resolve}
          />
        )
      }
      submit={save.submit}
      close={close}
    >
      <p>{texts.changeText}</p>
      <Concerned />
      <AreaField
        name={texts.file}
        hint={texts.fileHint}
        className="mono"
        rows={14}
        autoFocus
        required
        autoComplete="off"
        autoCapitalize="none"
        spellCheck={false}
        value={typed}
        onType={setTyped}
      />
    </FormDialog>
  );
}
