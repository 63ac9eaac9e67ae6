/** One release: what it is, who signed it, whether that holds here, and its way to devices. */

import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import type { ReactNode } from "react";

import { ApiProblem } from "../../api/problem";
import { keysQuery, presenceQuery, releaseQuery, rolloutsQuery } from "../../api/queries";
import type { Release } from "../../api/types";
import { ReleaseBadge, RolloutBadge } from "../../components/badges";
import { PageHead } from "../../components/page-head";
import { Empty, Loaded } from "../../components/states";
import { Moment } from "../../components/time";
import { count, quantity } from "../../format/number";
import { verifyManifest } from "../../signed/manifest";
import { trustQuery } from "../../signed/trust-query";
import { VerdictNotice } from "../../signed/verdict-notice";
import { useLanguage, useTexts } from "../../texts/language";
import { SignatureText } from "../releases/signature";
import { ReleaseOrders } from "./release-orders";

const route = getRouteApi("/releases/$releaseId");

export function ReleasePage() {
  const texts = useTexts().releases;
  const { releaseId } = route.useParams();
  const release = useQuery(releaseQuery(releaseId));
  if (release.error instanceof ApiProblem && (release.error.status === 404 || release.error.status === 400)) {
    return (
      <>
        <PageHead title={releaseId} />
        <p className="notice warn">{texts.unknown(releaseId)}</p>
      </>
    );
  }
  return (
    <>
      <PageHead
        title={releaseId}
        beside={release.data && <ReleaseBadge state={release.data.state} />}
        aside={release.data && <ReleaseOrders release={release.data} />}
      />
      <Loaded query={release}>
        {(known) => (
          <>
            <Facts release={known} />
            <Verification release={known} />
            <Rollouts release={known} />
          </>
        )}
      </Loaded>
    </>
  );
}

function sizeText(bytes: number, locale: string): string {
  return bytes < 1_024 ? quantity(bytes, "B", locale) : quantity(bytes / 1_024, "KiB", locale, 1);
}

function Facts({ release }: { release: Release }) {
  const { texts, locale } = useLanguage();
  const words = texts.releases;
  const keys = useQuery(keysQuery);
  const fleet = useQuery(presenceQuery);
  const facts: [string, ReactNode][] = [
    [words.version, release.version],
    [words.counter, String(release.release_counter)],
    [words.models, release.models.join(", ")],
    [words.product, release.product],
    [words.signature, <SignatureText key="signature" release={release} keys={keys.data} />],
    [words.image256, <code key="sha256">{release.sha256}</code>],
    [words.size, sizeText(release.size_bytes, locale)],
    [words.created, <Moment key="created" at={release.created_at} />],
    [words.changed, <Moment key="changed" at={release.changed_at} />],
    [words.reason, release.reason || texts.none],
    [words.notBefore, <Moment key="before" at={release.not_before} />],
    [words.expires, <Moment key="expires" at={release.expires_at} />],
    [words.running, count(fleet.data?.firmware[release.version] ?? 0, locale)],
  ];
  if (typeof release.min_counter === "number") facts.push([words.minCounter, String(release.min_counter)]);
  return (
    <section className="panel" aria-labelledby="facts">
      <h2 id="facts">{words.facts}</h2>
      <p className="soft">{words.stateHelp[release.state]}</p>
      <dl className="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

/** What this browser makes of the manifest, by the keyset that it has verified itself. */
function Verification({ release }: { release: Release }) {
  const texts = useTexts().releases;
  const trust = useQuery(trustQuery);
  const verdict = useQuery({
    queryKey: ["releases", release.release_id, "verdict", release.manifest, trust.dataUpdatedAt],
    queryFn: () => {
      if (!trust.data || "verdict" in trust.data) throw new Error("there is no keyset to verify with");
      return verifyManifest(release.manifest, trust.data.keyset.keys, release);
    },
    enabled: release.signed && trust.data !== undefined && "keyset" in trust.data,
  });
  const found = trust.data && "verdict" in trust.data ? trust.data.verdict : verdict.data;
  return (
    <section className="panel" aria-labelledby="verification">
      <h2 id="verification">{texts.verification}</h2>
      {!release.signed && <Empty>{texts.draftUnverified}</Empty>}
      {release.signed && (found ? <VerdictNotice verdict={found} /> : <Empty>{texts.verifying}</Empty>)}
      <details>
        <summary>{texts.manifest}</summary>
        <pre className="mono" tabIndex={0} aria-label={texts.manifest}>
          {release.manifest}
        </pre>
      </details>
    </section>
  );
}

function Rollouts({ release }: { release: Release }) {
  const { texts, locale } = useLanguage();
  const rollouts = useQuery(rolloutsQuery);
  return (
    <section className="panel" aria-labelledby="its-rollouts">
      <h2 id="its-rollouts">{texts.releases.rollouts}</h2>
      <Loaded query={rollouts}>
        {(all) => {
          const own = all.filter((rollout) => rollout.release_id === release.release_id);
          if (own.length === 0) return <Empty>{texts.releases.noRollouts}</Empty>;
          return (
            <ul className="notices">
              {own.map((rollout) => (
                <li key={rollout.rollout_id} className="row">
                  <Link to="/rollouts/$rolloutId" params={{ rolloutId: rollout.rollout_id }}>
                    {rollout.rollout_id}
                  </Link>
                  <RolloutBadge status={rollout.status} />
                  <span className="soft">
                    {texts.rollouts.confirmed(
                      count(rollout.updates["CONFIRMED"] ?? 0, locale),
                      count(rollout.targets, locale),
                    )}
                  </span>
                </li>
              ))}
            </ul>
          );
        }}
      </Loaded>
    </section>
  );
}
