/** Every decision of a rollout, in plain words. */

import { useInfiniteQuery } from "@tanstack/react-query";

import { traceQuery } from "../../api/queries";
import { PagedList } from "../../components/list";
import { Said } from "../../components/said";
import { Moment } from "../../components/time";
import { count } from "../../format/number";
import type { Texts } from "../../texts/en";
import { useLanguage } from "../../texts/language";

/** A kind of decision in words; one of a newer server as it is called there. */
export function decisionText(decision: string, texts: Texts): string {
  const known: Record<string, string> = texts.rollouts.decision;
  return known[decision] ?? decision;
}

export function Trace({ rolloutId }: { rolloutId: string }) {
  const { texts, locale } = useLanguage();
  const words = texts.rollouts;
  return (
    <section className="panel" aria-labelledby="trace">
      <h2 id="trace">{words.trace}</h2>
      <PagedList
        query={useInfiniteQuery(traceQuery(rolloutId))}
        heads={[words.when, words.inStage, words.what, words.who, words.why]}
        rowKey={(decision) => `${decision.revision} ${decision.at} ${decision.decision} ${decision.why}`}
        cells={(decision) => [
          <Moment key="at" at={decision.at} />,
          count(decision.stage + 1, locale),
          <strong key="what">{decisionText(decision.decision, texts)}</strong>,
          decision.actor === "rollout-engine" ? words.engine : decision.actor,
          <Said key="why" text={decision.why} />,
        ]}
        empty={words.noTrace}
      />
    </section>
  );
}
