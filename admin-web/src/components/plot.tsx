/** A time series as a plot, with the same in words for people who do not see it. */

import "uplot/dist/uPlot.min.css";

import { useEffect, useRef, useSyncExternalStore } from "react";
import uPlot from "uplot";

import { useLanguage } from "../texts/language";

interface PlotProps {
  readonly name: string;
  /** Said instead of the picture. */
  readonly summary: string;
  /** Seconds since 1970, ascending. */
  readonly times: readonly number[];
  readonly values: readonly (number | null)[];
  readonly show: (value: number) => string;
}

const HEIGHT_PX = 150;
/** Plots with one key show the same moment together. */
const CURSORS = "vitals";

const dark = window.matchMedia("(prefers-color-scheme: dark)");

function useIsDark(): boolean {
  const follow = (follower: () => void) => {
    dark.addEventListener("change", follower);
    return () => dark.removeEventListener("change", follower);
  };
  return useSyncExternalStore(follow, () => dark.matches);
}

export function Plot({ name, summary, times, values, show }: PlotProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const shown = useRef(show);
  shown.current = show;
  const data: uPlot.AlignedData = [times as number[], values as (number | null)[]];
  const newest = useRef(data);
  newest.current = data;
  const isDark = useIsDark();
  const { texts, locale } = useLanguage();

  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const made = new uPlot(options(element, { name, time: texts.time, locale, show: (value) => shown.current(value) }), newest.current, element);
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT_PX }));
    resized.observe(element);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [isDark, locale, name, texts.time]);

  useEffect(() => {
    plot.current?.setData(newest.current);
  }, [times, values]);

  return (
    <figure className="plot">
      <figcaption>{name}</figcaption>
      <p className="visually-hidden">{summary}</p>
      <div ref={place} aria-hidden="true" />
    </figure>
  );
}

interface Words {
  readonly name: string;
  readonly time: string;
  readonly locale: string;
  readonly show: (value: number) => string;
}

function options(element: HTMLElement, { name, time, locale, show }: Words): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const color = (property: string) => style.getPropertyValue(property).trim();
  const axis: uPlot.Axis = {
    stroke: color("--ink-soft"),
    grid: { stroke: color("--line"), width: 1 },
    ticks: { stroke: color("--line"), width: 1 },
    font: "12px system-ui, sans-serif",
  };
  const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
  const exact = new Intl.DateTimeFormat(locale, { dateStyle: "short", timeStyle: "medium" });
  return {
    width: element.clientWidth,
    height: HEIGHT_PX,
    cursor: { sync: { key: CURSORS }, drag: { x: true, y: false } },
    series: [
      { label: time, value: (_, at) => (at === null ? "–" : exact.format(at * 1_000)) },
      {
        label: name,
        stroke: color("--plot-1"),
        width: 1.5,
        points: { show: false },
        value: (_, value) => (value === null ? "–" : show(value)),
      },
    ],
    axes: [
      { ...axis, values: (_, ticks) => ticks.map((at) => clock.format(at * 1_000)) },
      { ...axis, size: 74, values: (_, ticks) => ticks.map(show) },
    ],
  };
}
