/** The devices and addresses that each limit has refused most: those to look at first. */

import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";

import type { LimitStatus, RefusedOne } from "../../api/types";
import { List } from "../../components/list";
import { Moment } from "../../components/time";
import { count } from "../../format/number";
import { useLanguage } from "../../texts/language";

interface Row extends RefusedOne {
  readonly limit: string;
  readonly isDevice: boolean;
}

/** Nothing for a role that may not know who was refused. */
export function MostRefused({ limits }: { limits: readonly LimitStatus[] }) {
  const { texts: all, locale } = useLanguage();
  const texts = all.limits;
  if (!limits.some((limit) => limit.most_refused)) return null;
  const rows = limits.flatMap(({ name: limit, most_refused }): Row[] => [
    ...(most_refused?.devices ?? []).map((one) => ({ ...one, limit, isDevice: true })),
    ...(most_refused?.addresses ?? []).map((one) => ({ ...one, limit, isDevice: false })),
  ]);
  const who = (row: Row): ReactNode =>
    row.isDevice ? (
      <Link to="/devices/$deviceId" params={{ deviceId: row.who }} preload={false}>
        {row.who}
      </Link>
    ) : (
      <code>{row.who}</code>
    );
  const times = ({ at_least: least, at_most: most }: Row) =>
    least === most ? count(least, locale) : texts.between(count(least, locale), count(most, locale));
  return (
    <section className="panel" aria-labelledby="most-refused">
      <h2 id="most-refused">{texts.mostRefused}</h2>
      <p className="soft">{texts.mostRefusedText}</p>
      <List
        heads={[texts.limit, texts.caller, texts.times, texts.lastAt]}
        rows={rows}
        rowKey={(row) => `${row.limit} ${row.isDevice} ${row.who}`}
        cells={(row) => [
          <code key="limit">{row.limit}</code>,
          who(row),
          times(row),
          <Moment key="last" at={row.last_at} />,
        ]}
        empty={texts.nobodyRefused}
      />
    </section>
  );
}
