/** Tokens of scripts, and sessions of people. A token's secret is shown once. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Dialog, Heading, Modal, ModalOverlay } from "react-aria-components";

import { answer, api } from "../../api/client";
import { tokensQuery } from "../../api/queries";
import type { CreatedToken, Role, Token } from "../../api/types";
import { ConfirmDialog } from "../../components/confirm-dialog";
import { CopyButton } from "../../components/copy-button";
import { CheckField, ChoiceField, TextField } from "../../components/fields";
import { FormDialog } from "../../components/form-dialog";
import { List } from "../../components/list";
import { Loaded } from "../../components/states";
import { Moment, useNow } from "../../components/time";
import { duration } from "../../format/time";
import { useLanguage, useTexts } from "../../texts/language";
import { AccountNameField } from "./account-name-field";
import { RoleField } from "./role-field";
import { stateOf } from "./tokens-of";

const DAY_S = 86_400;
const LIFETIMES_S = [3_600, DAY_S, 7 * DAY_S, 30 * DAY_S, 90 * DAY_S, 365 * DAY_S];

/** Tokens or sessions, the newest first; those that have ended only on demand. */
function useShown(kind: Token["kind"]) {
  const texts = useTexts().accounts;
  const now = useNow(30_000);
  const query = useQuery(tokensQuery);
  const [isAll, setAll] = useState(false);
  const choice = <CheckField name={texts.showEnded} isChecked={isAll} onCheck={setAll} />;
  const shown = (tokens: readonly Token[]) =>
    tokens.filter((token) => token.kind === kind && (isAll || stateOf(token, now) === "valid")).reverse();
  return { query, choice, shown, now };
}

function StateBadge({ token, now }: { token: Token; now: Date }) {
  const state = stateOf(token, now);
  const tone = { valid: "good", expired: "calm", revoked: "bad" }[state];
  return <span className={`badge ${tone}`}>{useTexts().accounts[state]}</span>;
}

/** A button that is there as long as the token is valid. */
function End({ token, now, text, ask }: { token: Token; now: Date; text: string; ask: (token: Token) => void }) {
  if (stateOf(token, now) !== "valid") return null;
  return (
    <button type="button" onClick={() => ask(token)}>
      {text}
      <span className="visually-hidden"> {token.name}</span>
    </button>
  );
}

interface EndDialogProps {
  readonly token: Token;
  readonly title: string;
  readonly actText: string;
  readonly children: ReactNode;
  readonly close: () => void;
}

function EndDialog({ token, title, actText, children, close }: EndDialogProps) {
  const queryClient = useQueryClient();
  return (
    <ConfirmDialog
      title={title}
      actText={actText}
      act={() => api.DELETE("/api/tokens/{row}", { params: { path: { row: token.row } } })}
      onDone={() => void queryClient.invalidateQueries({ queryKey: ["tokens"] })}
      close={close}
    >
      {children}
    </ConfirmDialog>
  );
}

export function Tokens() {
  const all = useTexts();
  const texts = all.accounts;
  const { query, choice, shown, now } = useShown("BEARER");
  const [isMaking, setMaking] = useState(false);
  const [ending, end] = useState<Token>();
  return (
    <>
      <div className="row">
        <button type="button" onClick={() => setMaking(true)}>
          {texts.newToken}
        </button>
        {choice}
      </div>
      <Loaded query={query}>
        {(tokens) => (
          <List
            heads={[texts.name, texts.role, texts.state, texts.owner, texts.created, texts.expires, texts.actions]}
            rows={shown(tokens)}
            rowKey={(token) => String(token.row)}
            cells={(token) => [
              token.name,
              all.roles[token.role],
              <StateBadge key="state" token={token} now={now} />,
              token.user ?? texts.noOwner,
              <Moment key="created" at={token.created_at} />,
              <Moment key="expires" at={token.expires_at} />,
              <End key="end" token={token} now={now} text={texts.revoke} ask={end} />,
            ]}
            empty={texts.noTokens}
          />
        )}
      </Loaded>
      {isMaking && <NewToken close={() => setMaking(false)} />}
      {ending && (
        <EndDialog token={ending} title={texts.revokeTitle(ending.name)} actText={texts.revokeAct} close={() => end(undefined)}>
          <p>{texts.revokeHits}</p>
        </EndDialog>
      )}
    </>
  );
}

export function Sessions() {
  const all = useTexts();
  const texts = all.accounts;
  const { query, choice, shown, now } = useShown("SESSION");
  const [ending, end] = useState<Token>();
  return (
    <>
      <div className="row">{choice}</div>
      <Loaded query={query}>
        {(tokens) => (
          <List
            heads={[texts.name, texts.role, texts.state, texts.began, texts.expires, texts.actions]}
            rows={shown(tokens)}
            rowKey={(token) => String(token.row)}
            cells={(token) => [
              token.name,
              all.roles[token.role],
              <StateBadge key="state" token={token} now={now} />,
              <Moment key="began" at={token.created_at} />,
              <Moment key="expires" at={token.expires_at} />,
              <End key="end" token={token} now={now} text={texts.end} ask={end} />,
            ]}
            empty={texts.noSessions}
          />
        )}
      </Loaded>
      {ending && (
        <EndDialog token={ending} title={texts.endTitle(ending.name)} actText={texts.endAct} close={() => end(undefined)}>
          <p>{texts.endHits}</p>
        </EndDialog>
      )}
    </>
  );
}

function NewToken({ close }: { close: () => void }) {
  const { texts: all, locale } = useLanguage();
  const texts = all.accounts;
  const queryClient = useQueryClient();
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const [ttl, setTtl] = useState(String(90 * DAY_S));
  const create = useMutation({
    mutationFn: () => answer(api.POST("/api/tokens", { body: { name, role, ttl_s: Number(ttl) } })),
    onSuccess: () => void queryClient.invalidateQueries({ queryKey: ["tokens"] }),
  });
  if (create.data) return <Secret made={create.data} close={close} />;
  return (
    <FormDialog
      title={texts.newTokenTitle}
      submitText={texts.create}
      isBusy={create.isPending}
      isComplete={name !== ""}
      error={create.error}
      submit={() => create.mutate()}
      close={close}
    >
      <p>{texts.tokenText}</p>
      <AccountNameField name={name} onType={setName} />
      <RoleField role={role} onChoose={setRole} />
      <ChoiceField
        name={texts.validFor}
        value={ttl}
        options={LIFETIMES_S.map((seconds) => [String(seconds), duration(seconds, locale)] as const)}
        onChoose={setTtl}
      />
    </FormDialog>
  );
}

/** The secret of a new token. Only the button closes this: a slip of the mouse would lose it. */
function Secret({ made, close }: { made: CreatedToken; close: () => void }) {
  const texts = useTexts().accounts;
  return (
    <ModalOverlay className="overlay" isOpen isKeyboardDismissDisabled>
      <Modal>
        <Dialog className="dialog form" role="alertdialog">
          <Heading slot="title" level={2}>
            {texts.tokenMade}
          </Heading>
          <p className="notice warn">{texts.tokenMadeText}</p>
          <TextField
            name={texts.token}
            className="mono"
            readOnly
            autoFocus
            autoComplete="off"
            value={made.token}
            onType={() => undefined}
            onFocus={(event) => event.target.select()}
          />
          <p>
            {texts.expires} <Moment at={made.expires_at} />
          </p>
          <div className="row">
            <CopyButton text={made.token} />
            <button type="button" className="primary" onClick={close}>
              {texts.kept}
            </button>
          </div>
        </Dialog>
      </Modal>
    </ModalOverlay>
  );
}
