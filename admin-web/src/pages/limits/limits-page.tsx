/** Rate limits: what is in force, what each has refused or would have, and changes of them. */

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";

import { answer, api } from "../../api/client";
import { limitsQuery } from "../../api/queries";
import type { LimitStatus, LimitsStatus } from "../../api/types";
import { useMe } from "../../app/session-gate";
import { ConfirmDialog } from "../../components/confirm-dialog";
import { ifMatch } from "../../components/conflict";
import { List } from "../../components/list";
import { PageHead } from "../../components/page-head";
import { Said } from "../../components/said";
import { Empty, Loaded } from "../../components/states";
import { Moment } from "../../components/time";
import { count, quantity } from "../../format/number";
import type { Texts } from "../../texts/en";
import { useLanguage, useTexts } from "../../texts/language";
import { ChangeDialog } from "./change-dialog";
import { Concerned } from "./concerned";
import { MostRefused } from "./most-refused";

export function LimitsPage() {
  const texts = useTexts().limits;
  const limits = useQuery(limitsQuery);
  return (
    <>
      <PageHead title={texts.title} />
      <Loaded query={limits}>
        {(status) => (
          <>
            <Warnings warnings={status.warnings} />
            <InForce status={status} />
            <Table limits={status.limits} />
            <MostRefused limits={status.limits} />
            <NeverFired names={status.never_fired} />
            <Overload status={status} />
          </>
        )}
      </Loaded>
    </>
  );
}

/** What the server accepts and takes for a mistake, such as a limit under which one device can use up what all share. */
function Warnings({ warnings }: { warnings: readonly string[] }) {
  return (
    <div role="status" className="quiet notices">
      {warnings.map((warning) => (
        <p key={warning} className="notice warn">
          <Said text={warning} />
        </p>
      ))}
    </div>
  );
}

function InForce({ status }: { status: LimitsStatus }) {
  const { texts: all } = useLanguage();
  const texts = all.limits;
  const me = useMe();
  const queryClient = useQueryClient();
  const [asked, setAsked] = useState<"change" | "rollback">();
  // What is rolled back is what the person sees when asked.
  const [seen, setSeen] = useState(status.version);
  const refresh = () => queryClient.invalidateQueries({ queryKey: ["limits"] });
  const facts: [string, ReactNode][] = [
    [texts.version, status.version === 0 ? texts.bySettings : String(status.version)],
    [texts.since, <Moment key="since" at={status.since} />],
    ...(status.version === 0 ? [] : [[texts.appliedBy, status.applied_by ?? all.unknown] as [string, ReactNode]]),
    [texts.counting, <span key="counting" title={texts.countingHelp}><Moment at={status.counting_since} /></span>],
  ];
  return (
    <section className="panel" aria-labelledby="version">
      <div className="page-head">
        <h2 id="version">{texts.version}</h2>
        {me.role === "admin" && (
          <span className="aside row">
            <button type="button" onClick={() => setAsked("change")}>
              {texts.change}
            </button>
            {status.version > 0 && (
              <button
                type="button"
                onClick={() => {
                  setSeen(status.version);
                  setAsked("rollback");
                }}
              >
                {texts.rollback}
              </button>
            )}
          </span>
        )}
      </div>
      <Facts facts={facts} />
      {status.document && (
        <details>
          <summary>{texts.document}</summary>
          <pre className="file">{status.document}</pre>
        </details>
      )}
      {asked === "change" && <ChangeDialog status={status} onSaved={refresh} close={() => setAsked(undefined)} />}
      {asked === "rollback" && (
        <ConfirmDialog
          title={texts.rollbackTitle}
          actText={texts.rollbackAct}
          act={() => answer(api.POST("/api/limits/rollback", { params: { header: ifMatch(seen) } }))}
          onDone={() => void refresh()}
          close={() => setAsked(undefined)}
        >
          <p>{texts.rollbackText}</p>
          <Concerned />
          {status.document && <pre className="file">{status.document}</pre>}
        </ConfirmDialog>
      )}
    </section>
  );
}

function Facts({ facts, isLong = false }: { facts: readonly (readonly [string, ReactNode])[]; isLong?: boolean }) {
  return (
    <dl className={isLong ? "facts long" : "facts"}>
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

const MODE_TONE: Record<LimitStatus["mode"], string> = { enforce: "good", shadow: "warn", off: "calm" };

/** What a limit allows, such as "120 requests a minute, 30 at once". */
function allowance(limit: LimitStatus, texts: Texts["limits"], locale: string): string {
  if (typeof limit.per_day === "number") return texts.perDay(count(limit.per_day, locale), texts.unit(limit.unit));
  return texts.perMin(count(limit.per_min ?? 0, locale), texts.unit(limit.unit), count(limit.burst ?? 0, locale));
}

function Table({ limits }: { limits: readonly LimitStatus[] }) {
  const { texts: all, locale } = useLanguage();
  const texts = all.limits;
  const counts = (fired: LimitStatus["refused"]) => (
    <span className={fired.last_day > 0 ? "" : "soft"}>
      {texts.counts(count(fired.last_minute, locale), count(fired.last_hour, locale), count(fired.last_day, locale))}
    </span>
  );
  const last = ({ refused, would_refuse }: LimitStatus) => [refused.last_at, would_refuse.last_at].filter((at) => at != null).sort().at(-1);
  return (
    <section className="panel dense" aria-labelledby="in-force">
      <h2 id="in-force">{texts.inForce}</h2>
      <List
        heads={[texts.limit, texts.whose, texts.allows, texts.mode, texts.source, texts.checked, texts.refused, texts.wouldRefuse, texts.lastAt]}
        rows={limits}
        rowKey={(limit) => limit.name}
        cells={(limit) => [
          <code key="name" title={limit.reason}>
            {limit.name}
          </code>,
          texts.subject(limit.subject),
          allowance(limit, texts, locale),
          <span key="mode" className={`badge ${MODE_TONE[limit.mode]}`} title={texts.modeHelp[limit.mode]}>
            {texts.modes[limit.mode]}
          </span>,
          texts.sources[limit.source],
          count(limit.checked, locale),
          counts(limit.refused),
          counts(limit.would_refuse),
          <Moment key="last" at={last(limit)} />,
        ]}
        empty={all.none}
      />
      <p className="soft">{texts.countingHelp}</p>
    </section>
  );
}

function NeverFired({ names }: { names: readonly string[] }) {
  const texts = useTexts().limits;
  return (
    <section className="panel" aria-labelledby="never-fired">
      <h2 id="never-fired">{texts.neverFired}</h2>
      {names.length === 0 ? (
        <Empty>{texts.everyFired}</Empty>
      ) : (
        <>
          <p className="soft">{texts.neverFiredText}</p>
          <ul className="row">
            {names.map((name) => (
              <li key={name} className="tag">
                {name}
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}

function Overload({ status: { overload, settings, memory_bytes } }: { status: LimitsStatus }) {
  const { texts: all, locale } = useLanguage();
  const texts = all.limits;
  const shown = (value: number) => count(value, locale);
  const refused = Object.entries(overload.refused).map(([name, value]) => `${name} ${shown(value)}`);
  return (
    <section className="panel" aria-labelledby="overload">
      <h2 id="overload">{texts.overload}</h2>
      <p className="soft">{texts.overloadText}</p>
      <Facts
        facts={[
          [texts.inProgress, shown(overload.in_progress)],
          [texts.inProgressMax, shown(overload.in_progress_max)],
          [texts.overloadLimit, shown(overload.limit)],
          [texts.delay, quantity(overload.delay_ms, "ms", locale)],
          [texts.overloadRefused, refused.join(", ")],
          [texts.memory, quantity(memory_bytes / 1024 / 1024, "MiB", locale, 1)],
        ]}
      />
      <h3>{texts.settings}</h3>
      <Facts isLong facts={Object.entries(settings).map(([name, value]) => [name, shown(value)] as const)} />
    </section>
  );
}
