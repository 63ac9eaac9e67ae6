/** One rollout, live: where it is, what it waits for, what its gates say, what was decided, and every device. */

import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";

import { ApiProblem } from "../../api/problem";
import { rolloutStatusQuery } from "../../api/queries";
import type { RolloutStatus } from "../../api/types";
import { RolloutBadge, UpdateBadge } from "../../components/badges";
import { PageHead } from "../../components/page-head";
import { Said } from "../../components/said";
import { Empty, Loaded } from "../../components/states";
import { Moment } from "../../components/time";
import { count, share } from "../../format/number";
import { moment } from "../../format/time";
import { useLanguage, useTexts } from "../../texts/language";
import { counts } from "./counts";
import { Gates } from "./gates";
import { Orders } from "./orders";
import { Outcomes } from "./outcomes";
import { Stages } from "./stages";
import { decisionText, Trace } from "./trace";
import { Updates } from "./updates";

const route = getRouteApi("/rollouts/$rolloutId");

export function RolloutPage() {
  const texts = useTexts().rollouts;
  const { rolloutId } = route.useParams();
  const { state } = route.useSearch();
  const status = useQuery(rolloutStatusQuery(rolloutId));
  if (status.error instanceof ApiProblem && (status.error.status === 404 || status.error.status === 400)) {
    return (
      <>
        <PageHead title={rolloutId} />
        <p className="notice warn">{texts.unknown(rolloutId)}</p>
      </>
    );
  }
  const rollout = status.data?.rollout;
  return (
    <>
      <PageHead
        title={rolloutId}
        beside={
          rollout && (
            <>
              <RolloutBadge status={rollout.status} />
              <Link to="/releases/$releaseId" params={{ releaseId: rollout.release_id }}>
                {rollout.release_id}
              </Link>
            </>
          )
        }
        aside={rollout && <Orders rollout={rollout} />}
      />
      <Loaded query={status}>
        {(known) => (
          <>
            <Figures status={known} />
            <WaitsFor status={known} />
            <Stages rollout={known.rollout} />
            <div className="columns">
              <Gates rollout={known.rollout} progress={known.progress} />
              <Outcomes rollout={known.rollout} />
            </div>
            <LookAt status={known} />
          </>
        )}
      </Loaded>
      <Trace rolloutId={rolloutId} />
      <Updates rolloutId={rolloutId} state={state} />
    </>
  );
}

function Figures({ status: { rollout } }: { status: RolloutStatus }) {
  const { texts, locale } = useLanguage();
  const words = texts.rollouts;
  const { notYet, inFlight, confirmed, failed } = counts(rollout.updates);
  const figures: [string, string][] = [
    [words.targets, count(rollout.targets, locale)],
    [words.stage, words.stageOf(count(rollout.stage + 1, locale), count(rollout.stages, locale))],
    [words.confirmedFigure, `${count(confirmed, locale)} (${share(confirmed, rollout.targets, locale)})`],
    [words.failedFigure, count(failed, locale)],
    [words.inFlight, count(inFlight, locale)],
    [words.notYet, count(notYet, locale)],
  ];
  return (
    <dl className="figures">
      {figures.map(([name, value]) => (
        <div className="figure" key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** What holds it up, and what comes next: the server's sentences, which are English. */
function WaitsFor({ status: { rollout, progress, last_decision: last } }: { status: RolloutStatus }) {
  const { texts, locale } = useLanguage();
  const words = texts.rollouts;
  const time = (at: string) => moment(new Date(at), new Date(), locale);
  const isEnded = !rollout.open;
  return (
    <section className="panel" aria-labelledby="waits">
      <h2 id="waits">{words.waitsFor}</h2>
      {isEnded && <Empty>{words.ended}</Empty>}
      {!isEnded && progress.waits_for.length === 0 && <Empty>{words.waitsForNothing}</Empty>}
      <ul className="notices">
        {rollout.offline_sites.map((site) => (
          <li key={site.site} className="notice warn">
            {words.offline(site.site, count(site.not_judged, locale), count(site.begun, locale))}
          </li>
        ))}
        {rollout.silent_confirmed > 0 && (
          <li className="notice warn">{words.silent(rollout.silent_confirmed, count(rollout.silent_confirmed, locale))}</li>
        )}
        {progress.waits_for.map((what) => (
          <li key={what} className={`notice ${rollout.status === "RUNNING" ? "" : "warn"}`}>
            <Said text={what} />
          </li>
        ))}
        {progress.next && <li className="notice">{words.next[progress.next.what](time(progress.next.at))}</li>}
        {progress.pauses_at && <li className="notice">{words.pausesAt(time(progress.pauses_at))}</li>}
      </ul>
      {last && (
        <p>
          {words.last(decisionText(last.decision, texts), last.actor === "rollout-engine" ? words.engine : last.actor)}{" "}
          <Said className="soft" text={last.why} />
        </p>
      )}
    </section>
  );
}

function LookAt({ status: { look_at } }: { status: RolloutStatus }) {
  const texts = useTexts().rollouts;
  const kinds = (["failed", "silent", "waiting", "unreached"] as const).filter((kind) => look_at[kind].length > 0);
  return (
    <section className="panel" aria-labelledby="look-at">
      <h2 id="look-at">{texts.lookAt}</h2>
      {kinds.length === 0 && <Empty>{texts.lookAtNothing}</Empty>}
      {kinds.map((kind) => (
        <div key={kind}>
          <p className="soft">{texts.look[kind]}</p>
          <ul className="row">
            {look_at[kind].map((update) => (
              <li key={update.device_id} className="row">
                <Link to="/devices/$deviceId" params={{ deviceId: update.device_id }}>
                  {update.device_id}
                </Link>
                <UpdateBadge state={update.state} />
                {update.class && <code>{update.class}</code>}
                <span className="soft">
                  {texts.lastSeen}: <Moment at={update.last_seen_at} />
                </span>
              </li>
            ))}
          </ul>
        </div>
      ))}
    </section>
  );
}
