/** All rollouts, those under way first, and the way to a new one. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { rolloutsQuery } from "../../api/queries";
import type { Rollout } from "../../api/types";
import { mayRelease } from "../../app/pages";
import { useMe } from "../../app/session-gate";
import { RolloutBadge } from "../../components/badges";
import { List } from "../../components/list";
import { PageHead } from "../../components/page-head";
import { Loaded } from "../../components/states";
import { Moment } from "../../components/time";
import { count } from "../../format/number";
import { useLanguage } from "../../texts/language";
import { counts } from "../rollout/counts";

/** The open ones first, and the newest of each kind. */
export function inOrder(rollouts: readonly Rollout[]): Rollout[] {
  const newest = [...rollouts].reverse();
  return [...newest.filter((rollout) => rollout.open), ...newest.filter((rollout) => !rollout.open)];
}

export function RolloutsPage() {
  const { texts, locale } = useLanguage();
  const words = texts.rollouts;
  const me = useMe();
  const rollouts = useQuery(rolloutsQuery);
  const ways = mayRelease(me.role) && (
    <span className="row">
      <Link className="button primary" to="/rollouts/plan">
        {words.add}
      </Link>
      <Link className="button" to="/rollouts/plan" search={{ policy: "hotfix" }}>
        {words.hotfix}
      </Link>
    </span>
  );
  return (
    <>
      <PageHead title={words.title} aside={ways} />
      <section className="panel" aria-label={words.title}>
        <Loaded query={rollouts}>
          {(all) => (
            <List
              heads={[words.rollout, words.release, words.status, words.stage, words.progress, words.failed, words.began]}
              rows={inOrder(all)}
              rowKey={(rollout) => rollout.rollout_id}
              cells={(rollout) => {
                const { confirmed, failed } = counts(rollout.updates);
                return [
                  <Link key="id" to="/rollouts/$rolloutId" params={{ rolloutId: rollout.rollout_id }}>
                    {rollout.rollout_id}
                  </Link>,
                  <Link key="release" to="/releases/$releaseId" params={{ releaseId: rollout.release_id }}>
                    {rollout.release_id}
                  </Link>,
                  <RolloutBadge key="status" status={rollout.status} />,
                  words.stageOf(count(rollout.stage + 1, locale), count(rollout.stages, locale)),
                  <span key="progress" className="row">
                    <meter min={0} max={Math.max(1, rollout.targets)} value={confirmed} aria-label={rollout.rollout_id} />
                    {words.confirmed(count(confirmed, locale), count(rollout.targets, locale))}
                  </span>,
                  count(failed, locale),
                  <Moment key="began" at={rollout.created_at} />,
                ];
              }}
              empty={words.empty}
            />
          )}
        </Loaded>
      </section>
    </>
  );
}
