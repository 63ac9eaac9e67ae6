/** One quantity over time as a plot. */

import { clockLabels } from "../format/time";
import { useLanguage } from "../texts/language";
import { Curves } from "./curves";

interface PlotProps {
  readonly name: string;
  /** Said instead of the picture. */
  readonly summary: string;
  /** Seconds since 1970, ascending. */
  readonly times: readonly number[];
  readonly values: readonly (number | null)[];
  readonly show: (value: number) => string;
}

/** The axis of times, which are seconds since 1970. */
export function useTimeAxis() {
  const { texts, locale } = useLanguage();
  const exact = new Intl.DateTimeFormat(locale, { dateStyle: "short", timeStyle: "medium" });
  return {
    name: texts.time,
    kind: "time" as const,
    ticks: (values: readonly number[]) => clockLabels(values, locale),
    exact: (at: number) => exact.format(at * 1_000),
  };
}

export function Plot({ name, summary, times, values, show }: PlotProps) {
  const x = useTimeAxis();
  return (
    <Curves
      name={name}
      summary={summary}
      xs={times}
      x={x}
      curves={[{ name, values, color: "--plot-1" }]}
      show={show}
      cursors="vitals"
    />
  );
}
