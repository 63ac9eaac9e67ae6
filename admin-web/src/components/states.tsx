/** What a page shows instead of its content: that it waits, that it failed and why, that there is nothing. */

import type { ReactNode } from "react";

import { ApiProblem, NoAnswer } from "../api/problem";
import type { Texts } from "../texts/en";
import { useLanguage, useTexts } from "../texts/language";

/** What is wrong, in the API's words where it has said any. */
export function problemText(error: unknown, texts: Texts): string {
  if (!(error instanceof ApiProblem)) return texts.failure.broken;
  if (error instanceof NoAnswer) return error.wasChange ? texts.failure.unanswered : texts.failure.unreachable;
  const wait = error.retryAfterS === undefined ? "" : ` ${texts.failure.retryAfter(String(error.retryAfterS))}`;
  return `${error.detail}${wait}`;
}

/** What is wrong with what was sent, with each fault of an uploaded file by its line. */
export function Problem({ error }: { error: unknown }) {
  const texts = useTexts();
  const faults = error instanceof ApiProblem ? error.errors : [];
  return (
    <div className="notice bad">
      <p>{problemText(error, texts)}</p>
      {faults.length > 0 && (
        <ul>
          {faults.map(({ line, field, what }) => (
            <li key={`${line} ${field} ${what}`}>
              {field === "" ? texts.dialog.lineOnly(String(line)) : texts.dialog.line(String(line), field)}: {what}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

export function Waiting() {
  return (
    <p className="waiting" role="status">
      {useTexts().loading}
    </p>
  );
}

export function Empty({ children }: { children: ReactNode }) {
  return <p className="soft">{children}</p>;
}

export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  const texts = useTexts();
  return (
    <div className="notice bad form" role="alert">
      <strong>{texts.failure.title}</strong>
      <p>{problemText(error, texts)}</p>
      {retry && (
        <div>
          <button type="button" onClick={retry}>
            {texts.retry}
          </button>
        </div>
      )}
    </div>
  );
}

/** What TanStack Query says about data that a page shows. */
interface Asked<T> {
  readonly data: T | undefined;
  readonly error: unknown;
  readonly dataUpdatedAt: number;
  readonly failureReason: unknown;
  readonly refetch: () => unknown;
}

/** The content once it is there. While asking again fails, what is known stays, with the time that it is from. */
export function Loaded<T>({ query, children }: { query: Asked<T>; children: (data: T) => ReactNode }) {
  const { texts, locale } = useLanguage();
  if (query.data === undefined) {
    return query.error ? <Failed error={query.error} retry={() => query.refetch()} /> : <Waiting />;
  }
  const isStale = query.error !== null || query.failureReason !== null;
  const time = new Intl.DateTimeFormat(locale, { timeStyle: "medium" }).format(query.dataUpdatedAt);
  return (
    <>
      <div role="status" className="quiet">{isStale && <p className="notice warn">{texts.failure.stale(time)}</p>}</div>
      {children(query.data)}
    </>
  );
}
