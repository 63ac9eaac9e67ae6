/** Moments: relative or exact, with the exact time in UTC on hover. */

import { useEffect, useState } from "react";

import { ago, moment, utc } from "../format/time";
import { useLanguage } from "../texts/language";

/** Now, again every few seconds. */
export function useNow(everyMs = 5_000): Date {
  const [now, setNow] = useState(() => new Date());
  useEffect(() => {
    const timer = window.setInterval(() => setNow(new Date()), everyMs);
    return () => window.clearInterval(timer);
  }, [everyMs]);
  return now;
}

interface MomentProps {
  readonly at: string | null | undefined;
  /** The time that "ago" is relative to; without it the moment is shown exactly. */
  readonly relativeTo?: Date;
  /** The time zone that it is shown in; without it that of the machine. */
  readonly timeZone?: string;
}

export function Moment({ at, relativeTo, timeZone }: MomentProps) {
  const { texts, locale } = useLanguage();
  if (!at) return <span className="soft">{texts.never}</span>;
  const date = new Date(at);
  const exact = moment(date, new Date(), locale, timeZone);
  return (
    <time dateTime={at} title={relativeTo ? `${exact} · ${utc(date)}` : utc(date)}>
      {relativeTo ? ago(date, relativeTo, locale) : exact}
    </time>
  );
}
