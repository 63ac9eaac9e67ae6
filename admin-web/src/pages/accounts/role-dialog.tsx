/** Another role for a user. What somebody else has changed meanwhile is shown beside it, never overwritten. */

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { answer, api } from "../../api/client";
import { ApiProblem } from "../../api/problem";
import { tokensQuery } from "../../api/queries";
import type { User } from "../../api/types";
import { Conflict, ifMatch, useGuardedSave } from "../../components/conflict";
import { FormDialog } from "../../components/form-dialog";
import { count } from "../../format/number";
import type { Texts } from "../../texts/en";
import { useLanguage } from "../../texts/language";
import { RoleField } from "./role-field";
import { endingWith } from "./tokens-of";

interface RoleDialogProps {
  readonly user: User;
  readonly onSaved: () => unknown;
  readonly close: () => void;
}

/** A user in words. */
function described({ role, disabled_at }: Pick<User, "role" | "disabled_at">, texts: Texts): string {
  return `${texts.roles[role]}, ${disabled_at ? texts.accounts.disabled : texts.accounts.enabled}`;
}

/** The user as it is now. The API lists users by page, and has no single one. */
async function find(name: string): Promise<User> {
  let cursor: string | null | undefined;
  do {
    const query = { limit: 1_000, ...(cursor ? { cursor } : {}) };
    const page = await answer(api.GET("/api/users", { params: { query } }));
    const found = page.items.find((user) => user.name === name);
    if (found) return found;
    cursor = page.next_cursor;
  } while (cursor);
  throw new ApiProblem(404, `unknown user ${name}`);
}

export function RoleDialog({ user, onSaved, close }: RoleDialogProps) {
  const { texts: all, locale } = useLanguage();
  const texts = all.accounts;
  const [role, setRole] = useState(user.role);
  const { data: tokens } = useQuery(tokensQuery);
  const ending = tokens && endingWith(user.name, tokens, new Date());
  const save = useGuardedSave({
    first: user,
    save: (seen) =>
      answer(api.PATCH("/api/users/{name}", { params: { path: { name: user.name }, header: ifMatch(seen.version) }, body: { role } })),
    readAgain: () => find(user.name),
    onSaved: async () => {
      await onSaved();
      close();
    },
  });
  const { theirs } = save;
  return (
    <FormDialog
      title={texts.changeRoleTitle(user.name)}
      submitText={all.dialog.save}
      busyText={all.dialog.saving}
      isBusy={save.isBusy}
      isComplete={role !== save.seen.role && ending !== undefined}
      error={save.error}
      instead={
        theirs && (
          <Conflict
            theirs={described(theirs, all)}
            mine={described({ role, disabled_at: save.seen.disabled_at ?? null }, all)}
            takeTheirs={() => {
              setRole(theirs.role);
              save.resolve();
            }}
            keepMine={save.resolve}
          />
        )
      }
      submit={save.submit}
      close={close}
    >
      <RoleField role={role} onChoose={setRole} />
      {ending && <p>{texts.roleHits(ending.tokens, count(ending.tokens, locale))}</p>}
    </FormDialog>
  );
}
