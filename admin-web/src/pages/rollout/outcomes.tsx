/** Outcomes over time as a plot. */

import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { OUTCOMES_MAX, outcomesQuery } from "../../api/queries";
import type { Rollout } from "../../api/types";
import { Curves } from "../../components/curves";
import { useTimeAxis } from "../../components/plot";
import { Empty, Loaded } from "../../components/states";
import { count } from "../../format/number";
import { useLanguage } from "../../texts/language";
import { counts } from "./counts";
import { outcomeCurve } from "./outcome-curve";

export function Outcomes({ rollout }: { rollout: Rollout }) {
  const { texts, locale } = useLanguage();
  const words = texts.rollouts;
  const x = useTimeAxis();
  const { confirmed, failed } = counts(rollout.updates);
  const query = useQuery(outcomesQuery(rollout.rollout_id, confirmed + failed));
  const began = Date.parse(rollout.created_at);
  const until = rollout.open ? query.dataUpdatedAt : 0;
  const curve = useMemo(() => outcomeCurve(query.data ?? [], began, until), [query.data, began, until]);
  const curves = useMemo(
    () => [
      { name: words.confirmedFigure, values: curve.confirmed, color: "--plot-1" as const, isStepped: true },
      { name: words.failedFigure, values: curve.failed, color: "--plot-bad" as const, isStepped: true },
    ],
    [words, curve],
  );
  return (
    <section className="panel" aria-labelledby="over-time">
      <h2 id="over-time">{words.overTime}</h2>
      <Loaded query={query}>
        {() =>
          confirmed + failed === 0 ? (
            <Empty>{words.noOutcomes}</Empty>
          ) : (
            <Curves
              name={words.outcomes}
              summary={words.overTimeSummary(count(confirmed, locale), count(failed, locale))}
              xs={curve.times}
              x={x}
              curves={curves}
              show={(value) => count(Math.round(value), locale)}
              heightPx={220}
            />
          )
        }
      </Loaded>
      {rollout.targets > OUTCOMES_MAX && <p className="notice">{words.tooMany(count(OUTCOMES_MAX, locale))}</p>}
    </section>
  );
}
