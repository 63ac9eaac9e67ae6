/** What needs a person now, each with where to go. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { missingQuery } from "../../api/queries";
import type { FleetPresence, KeysStatus, Rollout } from "../../api/types";
import { count } from "../../format/number";
import { missing, registered } from "../../format/presence";
import type { Texts } from "../../texts/en";
import { useLanguage } from "../../texts/language";
import { type Concern, concerns, examples } from "./counts";

/** Missing devices that are named beside a concern. */
const EXAMPLES = 3;

interface AttentionProps {
  readonly fleet: FleetPresence;
  readonly rollouts: readonly Rollout[] | undefined;
  readonly keys: KeysStatus | undefined;
}

export function Attention({ fleet, rollouts, keys }: AttentionProps) {
  const { texts, locale } = useLanguage();
  const found = concerns(fleet, rollouts, keys);
  const isMissing = missing(fleet.total) > 0;
  const { data: missingDevices = [] } = useQuery({ ...missingQuery, enabled: isMissing });
  const isEmpty = registered(fleet.total) + fleet.total.whitelisted + fleet.total.revoked === 0;
  return (
    <section className="panel" aria-labelledby="attention">
      <h2 id="attention">{texts.fleet.attention}</h2>
      {isEmpty && (
        <p className="notice">
          {texts.fleet.empty} <Link to="/provisioning">{texts.fleet.importFirst}</Link>
        </p>
      )}
      {!isEmpty && found.length === 0 && <p className="notice good">{texts.fleet.calm}</p>}
      <ul className="notices">
        {found.map((concern) => (
          <li key={JSON.stringify(concern)} className={`notice ${concern.kind === "site_down" ? "bad" : "warn"}`}>
            <ConcernText concern={concern} texts={texts} shown={(number) => count(number, locale)} />
            {isMissing && <Begin deviceIds={examples(concern, fleet, missingDevices, EXAMPLES).map((device) => device.device_id)} />}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Some of the devices, each with the page that says what to do about it. */
function Begin({ deviceIds }: { deviceIds: readonly string[] }) {
  const { texts } = useLanguage();
  if (deviceIds.length === 0) return null;
  return (
    <div>
      {texts.investigate.link}:{" "}
      {deviceIds.map((deviceId, index) => (
        <span key={deviceId}>
          {index > 0 && ", "}
          <Link to="/devices/$deviceId/investigate" params={{ deviceId }} preload={false}>
            {deviceId}
          </Link>
        </span>
      ))}
    </div>
  );
}

interface ConcernTextProps {
  readonly concern: Concern;
  readonly texts: Texts;
  readonly shown: (number: number) => string;
}

function ConcernText({ concern, texts: { fleet }, shown }: ConcernTextProps) {
  switch (concern.kind) {
    case "site_down":
      return (
        <Link to="/devices" search={{ site: concern.site, presence: "MISSING" }}>
          {fleet.siteDown(concern.site, shown(concern.missing), shown(concern.all))}
        </Link>
      );
    case "missing":
      return (
        <Link to="/devices" search={{ presence: "MISSING" }}>
          {fleet.missingDevices(concern.devices, shown(concern.devices))}
        </Link>
      );
    case "waiting":
      return <ToRollout rollout={concern.rollout}>{fleet.rolloutWaits(concern.rollout)}</ToRollout>;
    case "paused":
      return <ToRollout rollout={concern.rollout}>{fleet.rolloutPaused(concern.rollout)}</ToRollout>;
    case "late_failures":
      return (
        <ToRollout rollout={concern.rollout}>
          {fleet.lateFailures(concern.rollout, concern.devices, shown(concern.devices))}
        </ToRollout>
      );
    case "stranded":
      return fleet.stranded(concern.devices, shown(concern.devices));
    case "unknown_keyset":
      return fleet.unknownKeyset(concern.devices, shown(concern.devices));
  }
}

function ToRollout({ rollout, children }: { rollout: string; children: string }) {
  return (
    <Link to="/rollouts/$rolloutId" params={{ rolloutId: rollout }}>
      {children}
    </Link>
  );
}
