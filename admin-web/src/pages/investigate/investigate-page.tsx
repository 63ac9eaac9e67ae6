/** A silent device, in the order of the runbook: heard when, what to check first, network, site, firmware, logs, and a note for the next person. */

import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { type ReactNode, useId } from "react";

import { ApiProblem } from "../../api/problem";
import { investigationQuery, presenceQuery } from "../../api/queries";
import type { Investigation, PresenceCounts } from "../../api/types";
import { LevelBadge, PresenceBadge, StatusBadge } from "../../components/badges";
import { List } from "../../components/list";
import { PageHead } from "../../components/page-head";
import { Empty, Loaded } from "../../components/states";
import { Moment, useNow } from "../../components/time";
import { count, quantity } from "../../format/number";
import { missing, registered } from "../../format/presence";
import { duration } from "../../format/time";
import { useLanguage, useTexts } from "../../texts/language";
import { Findings } from "../device/findings";
import { clockText } from "../device/identity";
import { isFirmwareNew, lateMs, siteVerdict } from "./facts";
import { FetchLogs } from "./fetch-logs";
import { Note } from "./note";

const route = getRouteApi("/devices/$deviceId/investigate");

export function InvestigatePage() {
  const { texts, locale } = useLanguage();
  const { deviceId } = route.useParams();
  const { order } = route.useSearch();
  const investigation = useQuery(investigationQuery(deviceId));
  const fleet = useQuery(presenceQuery);
  const about = investigation.data;
  const title = texts.investigate.title(deviceId);
  if (investigation.error instanceof ApiProblem && (investigation.error.status === 404 || investigation.error.status === 400)) {
    return (
      <>
        <PageHead title={title} />
        <p className="notice warn">{texts.device.unknown(deviceId)}</p>
      </>
    );
  }
  const badges = about && (
    <>
      {about.device.status === "REGISTERED" && <PresenceBadge presence={about.presence} />}
      <StatusBadge status={about.device.status} />
    </>
  );
  const back = (
    <Link to="/devices/$deviceId" params={{ deviceId }}>
      {texts.investigate.toDevice}
    </Link>
  );
  return (
    <>
      <PageHead title={title} beside={badges} aside={back} />
      <Loaded query={investigation}>
        {(about) => {
          const site = fleet.data?.sites[about.device.site];
          return (
            <>
              <Heard about={about} />
              <Findings about={about} />
              <div className="columns">
                <Network about={about} />
                <Site site={about.device.site} counts={site} isSilent={about.presence !== "ONLINE"} />
              </div>
              <Firmware about={about} />
              <Section title={texts.investigate.logs}>
                <FetchLogs about={about} orderId={order} />
                <Logs logs={about.recent_logs} />
              </Section>
              <Note about={about} site={site} />
              <p className="notice">{texts.investigate.doNotRevoke}</p>
            </>
          );
        }}
      </Loaded>
      <p className="soft">{about && texts.updatedAt(new Intl.DateTimeFormat(locale, { timeStyle: "medium" }).format(new Date(about.at)))}</p>
    </>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  const id = useId();
  return (
    <section className="panel" aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      {children}
    </section>
  );
}

function Facts({ facts }: { facts: readonly (readonly [string, ReactNode])[] }) {
  return (
    <dl className="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** The last heartbeat against the one that was expected. */
function Heard({ about }: { about: Investigation }) {
  const { texts, locale } = useLanguage();
  const now = useNow();
  const late = lateMs(about);
  const isFine = about.presence === "ONLINE";
  return (
    <Section title={texts.investigate.heard}>
      <p className={isFine ? "notice good" : "notice warn"}>{texts.presenceHelp[about.presence]}</p>
      <Facts
        facts={[
          [texts.devices.lastSeen, <LastSeen key="seen" at={about.device.last_seen_at} now={now} />],
          [texts.device.expectedAt, <Moment key="expected" at={about.expected_at} />],
          [texts.investigate.late, late === undefined ? texts.investigate.notLate : duration(late / 1_000, locale)],
          [
            texts.investigate.silence,
            typeof about.silence_s === "number" ? duration(about.silence_s, locale) : texts.unknown,
          ],
        ]}
      />
    </Section>
  );
}

function LastSeen({ at, now }: { at: string | null | undefined; now: Date }) {
  if (!at) return <Moment at={at} />;
  return (
    <>
      <Moment at={at} /> (<Moment at={at} relativeTo={now} />)
    </>
  );
}

function Network({ about: { last_heartbeat: last } }: { about: Investigation }) {
  const { texts, locale } = useLanguage();
  const words = texts.device;
  if (!last) {
    return (
      <Section title={texts.investigate.network}>
        <Empty>{words.noVitals}</Empty>
      </Section>
    );
  }
  const signal = typeof last.rssi_dbm === "number" ? quantity(last.rssi_dbm, "dBm", locale) : words.noSignal;
  return (
    <Section title={texts.investigate.network}>
      <p className="soft">{texts.investigate.networkHint}</p>
      <Facts
        facts={[
          [words.network, last.network],
          [words.signal, signal],
          [words.uptime, duration(last.uptime_s, locale)],
          [words.temperature, quantity(last.cpu_temp_c, "°C", locale, 1)],
          [words.memory, quantity(last.free_mem_kib / 1_024, "MiB", locale, 1)],
          [words.clock, clockText(last.clock_ahead_ms, texts, locale)],
        ]}
      />
    </Section>
  );
}

/** What the other devices of its site do. */
interface SiteProps {
  readonly site: string;
  readonly counts: PresenceCounts | undefined;
  readonly isSilent: boolean;
}

function Site({ site, counts, isSilent }: SiteProps) {
  const { texts, locale } = useLanguage();
  if (!counts) return <Section title={texts.investigate.site}>{texts.loading}</Section>;
  const verdict = siteVerdict(counts);
  return (
    <Section title={texts.investigate.site}>
      {isSilent && <p className={verdict === "site" ? "notice bad" : "notice"}>{texts.investigate.siteVerdict[verdict]}</p>}
      <Facts
        facts={[
          [texts.devices.site, site],
          [texts.fleet.registered, count(registered(counts), locale)],
          [texts.fleet.online, count(counts.online, locale)],
          [texts.investigate.missingAtSite, count(missing(counts), locale)],
        ]}
      />
      <p>
        <Link to="/devices" search={{ site, presence: "MISSING" }}>
          {texts.investigate.seeSite}
        </Link>
      </p>
    </Section>
  );
}

/** Runs of firmware that are shown. */
const RUNS_SHOWN = 5;

function Firmware({ about }: { about: Investigation }) {
  const { texts } = useLanguage();
  const words = texts.device;
  return (
    <Section title={texts.devices.firmware}>
      {isFirmwareNew(about) && <p className="notice warn">{texts.investigate.firmwareNew}</p>}
      <List
        heads={[words.firmwareVersion, words.release, words.since]}
        rows={about.firmware_history.slice(0, RUNS_SHOWN)}
        rowKey={(run) => run.since + run.firmware_version}
        cells={(run) => [run.firmware_version, String(run.release_counter), <Moment key="at" at={run.since} />]}
        empty={words.noFirmware}
      />
    </Section>
  );
}

function Logs({ logs }: { logs: Investigation["recent_logs"] }) {
  const { device: words } = useTexts();
  return (
    <List
      heads={[words.at, words.level, words.message, words.received]}
      rows={logs}
      rowKey={(line) => line.at + line.received_at + line.message}
      cells={(line) => [
        <Moment key="at" at={line.at} />,
        <LevelBadge key="level" level={line.level} />,
        line.message,
        <Moment key="received" at={line.received_at} />,
      ]}
      empty={words.noLogs}
    />
  );
}
