/** People who can log in: new ones, their roles and passwords, and those who may not log in any more. */

import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { answer, api } from "../../api/client";
import { tokensQuery, usersQuery } from "../../api/queries";
import type { Role, User } from "../../api/types";
import { userName, useMe } from "../../app/session-gate";
import { ConfirmDialog } from "../../components/confirm-dialog";
import { ifMatch } from "../../components/conflict";
import { FormDialog } from "../../components/form-dialog";
import { PagedList } from "../../components/list";
import { Moment } from "../../components/time";
import { count } from "../../format/number";
import { useLanguage, useTexts } from "../../texts/language";
import { AccountNameField } from "./account-name-field";
import { NewPassword, PASSWORD_CHARS_MIN } from "./new-password";
import { RoleDialog } from "./role-dialog";
import { RoleField } from "./role-field";
import { endingWith } from "./tokens-of";

/** What somebody is asked about. */
type Asked = { readonly what: "new" } | { readonly what: "role" | "password" | "disable" | "enable"; readonly user: User };

export function Users() {
  const all = useTexts();
  const texts = all.accounts;
  const me = useMe();
  const queryClient = useQueryClient();
  const [asked, setAsked] = useState<Asked>();
  const close = () => setAsked(undefined);
  const refresh = () => {
    void queryClient.invalidateQueries({ queryKey: ["tokens"] });
    return queryClient.invalidateQueries({ queryKey: ["users"] });
  };
  return (
    <>
      <div className="row">
        <button type="button" onClick={() => setAsked({ what: "new" })}>
          {texts.newUser}
        </button>
      </div>
      <PagedList
        query={useInfiniteQuery(usersQuery)}
        heads={[texts.name, texts.role, texts.state, texts.created, texts.actions]}
        rowKey={(user) => user.name}
        cells={(user) => [
          user.name === userName(me) ? `${user.name} (${texts.you})` : user.name,
          <span key="role" title={texts.may[user.role]}>
            {all.roles[user.role]}
          </span>,
          <span key="state" className={user.disabled_at ? "badge bad" : "badge good"}>
            {user.disabled_at ? texts.disabled : texts.enabled}
          </span>,
          <Moment key="created" at={user.created_at} />,
          <span key="actions" className="row">
            {(["role", "password", user.disabled_at ? "enable" : "disable"] as const).map((what) => (
              <button key={what} type="button" onClick={() => setAsked({ what, user })}>
                {{ role: texts.changeRole, password: texts.setPassword, disable: texts.disable, enable: texts.enable }[what]}
                <span className="visually-hidden"> {user.name}</span>
              </button>
            ))}
          </span>,
        ]}
        empty={texts.noUsers}
      />
      {asked?.what === "new" && <NewUser onSaved={refresh} close={close} />}
      {asked?.what === "role" && <RoleDialog user={asked.user} onSaved={refresh} close={close} />}
      {asked?.what === "password" && <PasswordDialog user={asked.user} onSaved={refresh} close={close} />}
      {asked?.what === "disable" && <DisableDialog user={asked.user} onSaved={refresh} close={close} />}
      {asked?.what === "enable" && (
        <ConfirmDialog
          title={texts.enableTitle(asked.user.name)}
          actText={texts.enableAct}
          act={() => edit(asked.user, { disabled: false })}
          onDone={refresh}
          close={close}
        >
          <p>{texts.enableHits}</p>
        </ConfirmDialog>
      )}
    </>
  );
}

/** A change of the user as the page shows it. */
function edit(user: User, body: { disabled?: boolean; password?: string }) {
  return answer(api.PATCH("/api/users/{name}", { params: { path: { name: user.name }, header: ifMatch(user.version) }, body }));
}

interface DialogProps {
  readonly onSaved: () => unknown;
  readonly close: () => void;
}

function NewUser({ onSaved, close }: DialogProps) {
  const texts = useTexts().accounts;
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const [password, setPassword] = useState("");
  const create = useMutation({
    mutationFn: () => answer(api.POST("/api/users", { body: { name, role, password } })),
    onSuccess: async () => {
      await onSaved();
      close();
    },
  });
  return (
    <FormDialog
      title={texts.newUserTitle}
      submitText={texts.create}
      isBusy={create.isPending}
      isComplete={name !== "" && password.length >= PASSWORD_CHARS_MIN}
      error={create.error}
      submit={() => create.mutate()}
      close={close}
    >
      <AccountNameField name={name} onType={setName} />
      <RoleField role={role} onChoose={setRole} />
      <NewPassword name={texts.password} value={password} onType={setPassword} />
    </FormDialog>
  );
}

function PasswordDialog({ user, onSaved, close }: DialogProps & { user: User }) {
  const { texts: all, locale } = useLanguage();
  const texts = all.accounts;
  const [password, setPassword] = useState("");
  const { data: tokens } = useQuery(tokensQuery);
  const ending = tokens && endingWith(user.name, tokens, new Date());
  return (
    <ConfirmDialog
      title={texts.setPasswordTitle(user.name)}
      actText={texts.setPasswordAct}
      isReady={password.length >= PASSWORD_CHARS_MIN}
      act={() => edit(user, { password })}
      onDone={onSaved}
      close={close}
    >
      {ending && <p>{texts.passwordHits(ending.sessions, count(ending.sessions, locale))}</p>}
      {/* Password managers keep the new password under this name. */}
      <input className="visually-hidden" tabIndex={-1} aria-hidden="true" autoComplete="username" readOnly value={user.name} />
      <NewPassword name={texts.newPassword} autoFocus value={password} onType={setPassword} />
    </ConfirmDialog>
  );
}

function DisableDialog({ user, onSaved, close }: DialogProps & { user: User }) {
  const { texts: all, locale } = useLanguage();
  const texts = all.accounts;
  const me = useMe();
  const { data: tokens } = useQuery(tokensQuery);
  const ending = tokens && endingWith(user.name, tokens, new Date());
  return (
    <ConfirmDialog
      title={texts.disableTitle(user.name)}
      actText={texts.disableAct}
      typed={user.name}
      isReady={ending !== undefined}
      act={() => edit(user, { disabled: true })}
      onDone={onSaved}
      close={close}
    >
      {user.name === userName(me) && <p className="notice bad">{texts.disableYourself}</p>}
      {ending ? <p>{texts.disableHits(count(ending.sessions, locale), count(ending.tokens, locale))}</p> : <p>{all.loading}</p>}
    </ConfirmDialog>
  );
}
