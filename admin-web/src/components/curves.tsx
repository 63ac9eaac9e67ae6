/** Curves over time or another quantity, with the same in words for people who do not see them. */

import "uplot/dist/uPlot.min.css";

import { useEffect, useRef, useSyncExternalStore } from "react";
import uPlot from "uplot";

import { useLanguage } from "../texts/language";

export interface Curve {
  readonly name: string;
  readonly values: readonly (number | null)[];
  /** Name of a custom property. */
  readonly color: `--${string}`;
  readonly isDashed?: boolean;
  /** Stays as it is until the next point, as counts do. */
  readonly isStepped?: boolean;
}

export interface Axis {
  readonly name: string;
  /** At the axis, in short: of all ticks together, so that no two look the same. */
  readonly ticks: (values: readonly number[]) => readonly string[];
  /** In the legend, in full. */
  readonly exact: (value: number) => string;
}

interface CurvesProps {
  readonly name: string;
  /** Said instead of the picture. */
  readonly summary: string;
  /** Ascending. Times are in seconds since 1970. */
  readonly xs: readonly number[];
  readonly x: Axis & { readonly kind: "time" | "log" };
  readonly curves: readonly Curve[];
  readonly show: (value: number) => string;
  /** From 0 to this; as far as the values go if there is none. */
  readonly yMax?: number;
  /** Plots with one key show the same moment together. */
  readonly cursors?: string;
  readonly heightPx?: number;
}

const HEIGHT_PX = 150;
/** Between two ticks of an axis of times: the label with hours, minutes and seconds has room in each language. */
const TIME_TICKS_PX = 84;
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function useIsDark(): boolean {
  const follow = (follower: () => void) => {
    dark.addEventListener("change", follower);
    return () => dark.removeEventListener("change", follower);
  };
  return useSyncExternalStore(follow, () => dark.matches);
}

export function Curves(props: CurvesProps) {
  const { name, summary, xs, curves } = props;
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const newest = useRef(props);
  newest.current = props;
  const isDark = useIsDark();
  const { locale } = useLanguage();
  // Values change often; another set of curves is another plot.
  const kinds = curves.map((curve) => `${curve.name} ${curve.color}`).join("\n");

  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const made = new uPlot(options(element, () => newest.current), dataOf(newest.current), element);
    plot.current = made;
    const height = newest.current.heightPx ?? HEIGHT_PX;
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    resized.observe(element);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [isDark, locale, name, kinds]);

  useEffect(() => {
    plot.current?.setData(dataOf(newest.current));
  }, [xs, curves]);

  return (
    <figure className="plot">
      <figcaption>{name}</figcaption>
      <p className="visually-hidden">{summary}</p>
      <div ref={place} aria-hidden="true" />
    </figure>
  );
}

function dataOf({ xs, curves }: CurvesProps): uPlot.AlignedData {
  return [xs as number[], ...curves.map((curve) => curve.values as (number | null)[])];
}

/** Labels of those ticks that have a number. */
function labels(ticks: readonly (number | null)[], name: Axis["ticks"]): string[] {
  const known = name(ticks.filter((at) => at !== null));
  let next = 0;
  return ticks.map((at) => (at === null ? "" : (known[next++] ?? "")));
}

function options(element: HTMLElement, now: () => CurvesProps): uPlot.Options {
  const { x, curves, yMax, cursors, heightPx = HEIGHT_PX } = now();
  const style = getComputedStyle(document.documentElement);
  const color = (property: string) => style.getPropertyValue(property).trim();
  const stepped = uPlot.paths.stepped?.({ align: 1 });
  const axis: uPlot.Axis = {
    stroke: color("--ink-soft"),
    grid: { stroke: color("--line"), width: 1 },
    ticks: { stroke: color("--line"), width: 1 },
    font: "12px system-ui, sans-serif",
  };
  return {
    width: element.clientWidth,
    height: heightPx,
    cursor: { ...(cursors ? { sync: { key: cursors } } : {}), drag: { x: x.kind === "time", y: false } },
    scales: {
      x: x.kind === "time" ? { time: true } : { time: false, distr: 3, log: 10 },
      ...(yMax === undefined ? {} : { y: { range: [0, yMax] } }),
    },
    series: [
      { label: x.name, value: (_, at) => (at === null ? "–" : now().x.exact(at)) },
      ...curves.map(({ name, color: property, isDashed = false, isStepped = false }) => ({
        label: name,
        stroke: color(property),
        width: 1.5,
        ...(isDashed ? { dash: [6, 4] } : {}),
        ...(isStepped && stepped ? { paths: stepped } : {}),
        points: { show: false },
        value: (_: uPlot, value: number | null) => (value === null ? "–" : now().show(value)),
      })),
    ],
    axes: [
      // On a logarithmic axis most of the lines have no number: there is no room.
      { ...axis, ...(x.kind === "time" ? { space: TIME_TICKS_PX } : {}), values: (_, ticks) => labels(ticks, now().x.ticks) },
      { ...axis, size: 74, values: (_, ticks) => ticks.map((value) => now().show(value)) },
    ],
  };
}
