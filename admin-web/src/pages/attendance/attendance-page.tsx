/** Punches of a day, by site and device, and their export. */

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";

import { API_BASE_URL } from "../../api/client";
import { attendanceQuery, presenceQuery } from "../../api/queries";
import { ChoiceField, Field } from "../../components/fields";
import { NamedFilter, namesOf, TypedFilter } from "../../components/filters";
import { PagedList } from "../../components/list";
import { PageHead } from "../../components/page-head";
import { Moment, useNow } from "../../components/time";
import { dayAfter, dayOf, isDay, ownTimeZone, timeZones } from "../../format/day";
import { count } from "../../format/number";
import { useLanguage } from "../../texts/language";
import { type AttendanceSearch, changedAttendance, exportAddress, type Format, FORMATS, punchesOf } from "./filter";

const route = getRouteApi("/punches");

export function AttendancePage() {
  const { texts, locale } = useLanguage();
  const search = route.useSearch();
  const now = useNow();
  const zone = search.zone ?? ownTimeZone();
  const day = search.day ?? dayOf(now, zone);
  const punches = useInfiniteQuery(attendanceQuery(punchesOf(search, day, zone)));
  const shown = punches.data?.pages.reduce((sum, page) => sum + page.items.length, 0) ?? 0;
  const total = punches.hasNextPage ? texts.attendance.loaded(count(shown, locale)) : texts.attendance.punches(shown, count(shown, locale));
  const words = texts.device;
  return (
    <>
      <PageHead title={texts.attendance.title} aside={<span role="status">{punches.data && total}</span>} />
      <Filters search={search} day={day} zone={zone} />
      <section className="panel" aria-labelledby="punches">
        <h2 id="punches">{longDay(day, locale)}</h2>
        <PagedList
          query={punches}
          heads={[words.at, texts.attendance.device, texts.devices.site, words.badge, words.direction, words.method, words.number, words.received]}
          rowKey={(punch) => `${punch.device_id} ${punch.punch_no}`}
          cells={(punch) => [
            <Moment key="at" at={punch.at} timeZone={zone} />,
            <Link key="device" to="/devices/$deviceId" params={{ deviceId: punch.device_id }} search={{ tab: "punches" }} preload={false}>
              {punch.device_id}
            </Link>,
            punch.site,
            punch.badge,
            texts.attendance.direction(punch.direction),
            texts.attendance.method(punch.method),
            String(punch.punch_no),
            <Moment key="received" at={punch.received_at} timeZone={zone} />,
          ]}
          empty={texts.attendance.none}
        />
      </section>
      <Export search={search} day={day} zone={zone} />
    </>
  );
}

/** A day of the calendar in words. */
function longDay(day: string, locale: string): string {
  return new Intl.DateTimeFormat(locale, { dateStyle: "full", timeZone: "UTC" }).format(new Date(`${day}T00:00:00.000Z`));
}

interface Shown {
  readonly search: AttendanceSearch;
  readonly day: string;
  readonly zone: string;
}

function Filters({ search, day, zone }: Shown) {
  const { texts } = useLanguage();
  const navigate = useNavigate();
  const { data: fleet } = useQuery({ ...presenceQuery, refetchInterval: false });
  const change = (field: keyof AttendanceSearch) => (value: string) => {
    void navigate({ to: "/punches", search: changedAttendance(search, field, value), replace: true });
  };
  const zones = new Set([ownTimeZone(), zone, ...timeZones()]);
  return (
    <search className="filters even" aria-label={texts.devices.filters}>
      <Field name={texts.attendance.day}>
        {(element) => (
          <input
            {...element}
            type="date"
            required
            value={day}
            // A day that is being typed is none for a while.
            onChange={(event) => isDay(event.target.value) && change("day")(event.target.value)}
          />
        )}
      </Field>
      <div className="row">
        <button type="button" onClick={() => change("day")(dayAfter(day, -1))}>
          {texts.attendance.dayBefore}
        </button>
        <button type="button" onClick={() => change("day")(dayAfter(day))}>
          {texts.attendance.dayAfter}
        </button>
      </div>
      <NamedFilter name={texts.devices.site} value={search.site} names={namesOf(fleet?.sites)} onChange={change("site")} />
      <TypedFilter name={texts.attendance.device} value={search.device_id} onChange={change("device_id")} />
      <ChoiceField
        name={texts.attendance.zone}
        value={zone}
        options={[...zones].map((name) => [name, name] as const)}
        onChoose={change("zone")}
      />
    </search>
  );
}

function Export({ search, day, zone }: Shown) {
  const { texts } = useLanguage();
  const [format, setFormat] = useState<Format>("plain");
  return (
    <section className="panel form" aria-labelledby="export">
      <h2 id="export">{texts.attendance.export}</h2>
      <p className="soft">{texts.attendance.exportHint}</p>
      <ChoiceField
        name={texts.attendance.format}
        value={format}
        options={FORMATS.map((name) => [name, texts.attendance.formats[name]] as const)}
        onChoose={setFormat}
      />
      <div>
        <a className="button" href={exportAddress(API_BASE_URL, search, day, zone, format)} download={`attendance-${day}.csv`}>
          {texts.attendance.download}
        </a>
      </div>
    </section>
  );
}
