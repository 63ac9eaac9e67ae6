/** How a device is: when it was heard, and what its heartbeats reported. */

import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { vitalsQuery } from "../../api/queries";
import type { Heartbeat, Investigation } from "../../api/types";
import { Plot } from "../../components/plot";
import { Empty, Loaded } from "../../components/states";
import { quantity } from "../../format/number";
import { duration, moment } from "../../format/time";
import { useLanguage } from "../../texts/language";
import { timeline, withSilences } from "./timeline";

/** The time between two heartbeats, in milliseconds; a minute until the device was heard. */
function intervalMs({ device, expected_at }: Investigation): number {
  if (!device.last_seen_at || !expected_at) return 60_000;
  return Date.parse(expected_at) - Date.parse(device.last_seen_at);
}

export function Vitals({ about }: { about: Investigation }) {
  const { texts, locale } = useLanguage();
  const vitals = useQuery(vitalsQuery(about.device.device_id));
  return (
    <section className="panel" aria-labelledby="vitals">
      <Loaded query={vitals}>
        {(beats) => {
          const oldest = beats.at(-1);
          return (
            <>
              <div className="page-head">
                <h2 id="vitals">{texts.device.vitals}</h2>
                {oldest && (
                  <span className="aside">
                    {texts.device.vitalsSince(moment(new Date(oldest.received_at), new Date(), locale))}
                  </span>
                )}
              </div>
              {oldest ? (
                <>
                  <Heard beats={beats} now={Date.parse(about.at)} intervalMs={intervalMs(about)} />
                  <Plots beats={beats} intervalMs={intervalMs(about)} />
                </>
              ) : (
                <Empty>{texts.device.noVitals}</Empty>
              )}
            </>
          );
        }}
      </Loaded>
    </section>
  );
}

interface HeardProps {
  readonly beats: readonly Heartbeat[];
  readonly now: number;
  readonly intervalMs: number;
}

/** A strip from the oldest heartbeat until now, with holes where the device was silent. */
function Heard({ beats, now, intervalMs }: HeardProps) {
  const { texts, locale } = useLanguage();
  const spans = timeline(
    beats.map((beat) => Date.parse(beat.received_at)),
    now,
    intervalMs,
  );
  const from = spans.at(0)?.from ?? now;
  const length = Math.max(1, (spans.at(-1)?.to ?? now) - from);
  const silent = spans.filter((span) => !span.isHeard).reduce((sum, span) => sum + span.to - span.from, 0);
  const summary = `${texts.device.silences}: ${texts.device.silentFor(duration(silent / 1_000, locale), duration(length / 1_000, locale))}`;
  return (
    <figure className="heard">
      <figcaption className="soft">{summary}</figcaption>
      <svg viewBox="0 0 1000 12" preserveAspectRatio="none" role="img" aria-label={summary}>
        {spans.map((span) => (
          <rect
            key={span.from}
            className={span.isHeard ? "is-heard" : "is-silent"}
            x={((span.from - from) / length) * 1_000}
            width={((span.to - span.from) / length) * 1_000}
            height="12"
          />
        ))}
      </svg>
    </figure>
  );
}

interface PlotsProps {
  readonly beats: readonly Heartbeat[];
  readonly intervalMs: number;
}

function Plots({ beats, intervalMs }: PlotsProps) {
  const { texts, locale } = useLanguage();
  const series = useMemo(() => {
    const ascending = withSilences([...beats].reverse(), (beat) => Date.parse(beat.received_at), intervalMs);
    const of = (value: (beat: Heartbeat) => number | null) => ascending.map(({ beat }) => beat && value(beat));
    return {
      times: ascending.map(({ at }) => at / 1_000),
      uptime: of((beat) => beat.uptime_s / 3_600),
      temperature: of((beat) => beat.cpu_temp_c),
      memory: of((beat) => beat.free_mem_kib / 1_024),
      signal: of((beat) => beat.rssi_dbm ?? null),
    };
  }, [beats, intervalMs]);
  const plots = [
    { name: texts.device.temperature, values: series.temperature, show: (value: number) => quantity(value, "°C", locale, 1) },
    { name: texts.device.memory, values: series.memory, show: (value: number) => quantity(value, "MiB", locale, 1) },
    { name: texts.device.signal, values: series.signal, show: (value: number) => quantity(value, "dBm", locale) },
    { name: texts.device.uptime, values: series.uptime, show: (value: number) => quantity(value, "h", locale, 2) },
  ];
  return (
    <div className="plots">
      {plots.map(({ name, values, show }) => {
        const known = values.filter((value) => value !== null);
        const last = known.at(-1);
        if (last === undefined) {
          return (
            <figure className="plot" key={name}>
              <figcaption>{name}</figcaption>
              <Empty>{texts.device.noSignal}</Empty>
            </figure>
          );
        }
        const summary = texts.device.plotSummary(name, show(last), show(Math.min(...known)), show(Math.max(...known)));
        return <Plot key={name} name={name} summary={summary} times={series.times} values={values} show={show} />;
      })}
    </div>
  );
}
