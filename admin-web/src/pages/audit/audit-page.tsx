/** The audit: searched, verified, exported. */

import { useInfiniteQuery, useMutation } from "@tanstack/react-query";
import { getRouteApi, useNavigate } from "@tanstack/react-router";

import { answer, api, API_BASE_URL } from "../../api/client";
import { type AuditFilter, auditSearchQuery } from "../../api/queries";
import type { Verification } from "../../api/types";
import { TextField } from "../../components/fields";
import { PagedList } from "../../components/list";
import { PageHead } from "../../components/page-head";
import { usePausedText } from "../../components/paused-text";
import { Said } from "../../components/said";
import { Problem } from "../../components/states";
import { Moment } from "../../components/time";
import { count } from "../../format/number";
import { useLanguage, useTexts } from "../../texts/language";
import { changed, faultOf, fromLocal, toLocal } from "./filter";

const route = getRouteApi("/audit");

export function AuditPage() {
  const texts = useTexts().audit;
  const filter = route.useSearch();
  const fault = faultOf(filter);
  const query = useInfiniteQuery({ ...auditSearchQuery(filter), enabled: fault === undefined });
  return (
    <>
      <PageHead title={texts.title} />
      <Verifying />
      <Filters filter={filter} />
      {fault && (
        <p className="notice warn" role="alert">
          {texts[fault]}
        </p>
      )}
      {!fault && (
        <section className="panel dense" aria-label={texts.title}>
          <PagedList
            query={query}
            heads={[texts.number, texts.at, texts.actor, texts.what, texts.subject, texts.detail, texts.address]}
            rowKey={(line) => String(line.number)}
            cells={(line) => [
              String(line.number),
              <Moment key="at" at={line.at} />,
              line.actor,
              <code key="action">{line.action}</code>,
              line.subject,
              <Said key="detail" text={line.detail} />,
              line.address || <span className="soft">{texts.thisMachine}</span>,
            ]}
            empty={Object.keys(filter).length > 0 ? texts.noMatch : texts.empty}
          />
        </section>
      )}
    </>
  );
}

function Verifying() {
  const texts = useTexts().audit;
  const verify = useMutation({ mutationFn: () => answer(api.GET("/api/audit/verify")) });
  return (
    <section className="panel" aria-label={texts.verify}>
      <p className="soft">{texts.text}</p>
      <div className="row">
        <button type="button" aria-disabled={verify.isPending} onClick={() => !verify.isPending && verify.mutate()}>
          {verify.isPending ? texts.verifying : texts.verify}
        </button>
        <a className="button" href={`${API_BASE_URL}/api/audit/export`} download="audit.ndjson">
          {texts.export}
        </a>
      </div>
      <div role="status" className="quiet">
        {verify.data && <Verdict verification={verify.data} />}
        {verify.error && <Problem error={verify.error} />}
      </div>
    </section>
  );
}

function Verdict({ verification: { whole, broken, head, head_hash } }: { verification: Verification }) {
  const { texts: all, locale } = useLanguage();
  const texts = all.audit;
  if (!whole) {
    return (
      <div className="notice bad">
        <strong>{texts.broken}</strong>
        <p>{broken}</p>
      </div>
    );
  }
  return (
    <div className="notice good">
      <strong>{texts.whole(count(head ?? 0, locale))}</strong>
      <p>
        {texts.headHash}: <code>{head_hash}</code>
      </p>
      <p>{texts.keepHead}</p>
    </div>
  );
}

function Filters({ filter }: { filter: AuditFilter }) {
  const texts = useTexts().audit;
  const navigate = useNavigate();
  const change = (field: keyof AuditFilter) => (value: string) =>
    void navigate({ to: "/audit", search: changed(filter, field, value), replace: true, resetScroll: false });
  const time = (field: "since" | "until") => (
    <TextField
      name={texts[field]}
      type="datetime-local"
      value={toLocal(filter[field])}
      onType={(local) => change(field)(fromLocal(local))}
    />
  );
  return (
    <search className="filters even" aria-label={texts.filters}>
      <Typed name={texts.actor} hint={texts.actorHint} value={filter.actor} onChange={change("actor")} />
      <Typed name={texts.action} hint={texts.actionHint} value={filter.action} onChange={change("action")} />
      <Typed name={texts.subject} hint={texts.subjectHint} value={filter.subject} onChange={change("subject")} />
      {time("since")}
      {time("until")}
      {Object.keys(filter).length > 0 && (
        <div className="row">
          <button type="button" onClick={() => void navigate({ to: "/audit", search: {} })}>
            {texts.clear}
          </button>
        </div>
      )}
    </search>
  );
}

interface TypedProps {
  readonly name: string;
  readonly hint: string;
  readonly value: string | undefined;
  readonly onChange: (value: string) => void;
}

function Typed({ name, hint, value = "", onChange }: TypedProps) {
  const [typed, setTyped] = usePausedText(value, onChange);
  return (
    <TextField name={name} hint={hint} type="search" autoComplete="off" autoCapitalize="none" spellCheck={false} value={typed} onType={setTyped} />
  );
}
