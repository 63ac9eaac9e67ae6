/** The fleet at a glance: who is there, who is missing, what is under way, what needs a person. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";

import { heartbeatsQuery, keysQuery, presenceQuery, rolloutsQuery } from "../../api/queries";
import type { FleetPresence, Rollout } from "../../api/types";
import { RolloutBadge } from "../../components/badges";
import { PageHead } from "../../components/page-head";
import { Empty, Loaded } from "../../components/states";
import { count, share } from "../../format/number";
import { missing, registered } from "../../format/presence";
import { useLanguage } from "../../texts/language";
import { Attention } from "./attention";
import { beatsPerMin } from "./counts";
import { PlacesPanel } from "./places-panel";

export function FleetPage() {
  const { texts, locale } = useLanguage();
  const presence = useQuery(presenceQuery);
  const rollouts = useQuery(rolloutsQuery);
  const keys = useQuery(keysQuery);
  const time = (at: string) => new Intl.DateTimeFormat(locale, { timeStyle: "medium" }).format(new Date(at));
  return (
    <>
      <PageHead title={texts.fleet.title} aside={presence.data && texts.updatedAt(time(presence.data.at))} />
      <Loaded query={presence}>
        {(fleet) => (
          <>
            <Figures fleet={fleet} />
            <Attention fleet={fleet} rollouts={rollouts.data} keys={keys.data} />
            <div className="columns">
              <PlacesPanel title={texts.fleet.bySite} kind="site" byName={fleet.sites} />
              <PlacesPanel title={texts.fleet.byModel} kind="model" byName={fleet.models} />
            </div>
            <div className="columns">
              <Firmware firmware={fleet.firmware} />
              <section className="panel" aria-labelledby="rollouts">
                <h2 id="rollouts">{texts.fleet.rollouts}</h2>
                <Loaded query={rollouts}>{(all) => <Rollouts rollouts={all.filter((rollout) => rollout.open)} />}</Loaded>
              </section>
            </div>
          </>
        )}
      </Loaded>
    </>
  );
}

function Figures({ fleet }: { fleet: FleetPresence }) {
  const { texts, locale } = useLanguage();
  const { total } = fleet;
  const rate = useBeatsPerMin();
  const figures: [string, string, string?][] = [
    [texts.fleet.registered, count(registered(total), locale)],
    [texts.fleet.online, `${count(total.online, locale)} (${share(total.online, registered(total), locale)})`],
    [texts.fleet.missing, count(missing(total), locale), texts.fleet.missingHelp],
    [texts.fleet.beatsPerMin, rate === undefined ? texts.fleet.measuring : count(rate, locale)],
    [texts.fleet.whitelisted, count(total.whitelisted, locale)],
    [texts.fleet.revoked, count(total.revoked, locale)],
  ];
  return (
    <dl className="figures">
      {figures.map(([name, value, help]) => (
        <div className="figure" key={name} title={help}>
          <dt>{name}</dt>
          <dd className={/\d/.test(value) ? undefined : "small"}>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Heartbeats a minute, between the last two answers of the server. */
function useBeatsPerMin(): number | undefined {
  const { data } = useQuery(heartbeatsQuery);
  const before = useRef<typeof data>(undefined);
  const [rate, setRate] = useState<number>();
  useEffect(() => {
    const measured = beatsPerMin(before.current, data);
    if (measured !== undefined) setRate(measured);
    before.current = data;
  }, [data]);
  return rate;
}

function Firmware({ firmware }: { firmware: FleetPresence["firmware"] }) {
  const { texts, locale } = useLanguage();
  const versions = Object.entries(firmware).sort(([, one], [, other]) => other - one);
  const all = versions.reduce((sum, [, devices]) => sum + devices, 0);
  return (
    <section className="panel" aria-labelledby="firmware">
      <h2 id="firmware">{texts.fleet.firmware}</h2>
      {versions.length === 0 && <Empty>{texts.none}</Empty>}
      <ul className="shares">
        {versions.map(([version, devices]) => {
          const name = version || texts.fleet.noFirmware;
          return (
            <li key={version}>
              <span className="name" title={name}>
                {version ? (
                  <Link to="/devices" search={{ firmware_version: version }}>
                    {version}
                  </Link>
                ) : (
                  name
                )}
              </span>
              <meter min={0} max={all} value={devices} aria-label={name} />
              <span>
                {count(devices, locale)} <span className="soft">({share(devices, all, locale)})</span>
              </span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

function Rollouts({ rollouts }: { rollouts: readonly Rollout[] }) {
  const { texts, locale } = useLanguage();
  if (rollouts.length === 0) return <Empty>{texts.fleet.noRollouts}</Empty>;
  return (
    <ul className="notices">
      {rollouts.map((rollout) => {
        const confirmed = rollout.updates["CONFIRMED"] ?? 0;
        return (
          <li key={rollout.rollout_id}>
            <div className="row">
              <Link to="/rollouts/$rolloutId" params={{ rolloutId: rollout.rollout_id }}>
                {rollout.rollout_id}
              </Link>
              <RolloutBadge status={rollout.status} />
              <span className="soft">
                {texts.fleet.rollout(rollout.version)},{" "}
                {texts.fleet.stage(count(rollout.stage + 1, locale), count(rollout.stages, locale))}
              </span>
            </div>
            <div className="row">
              <meter min={0} max={Math.max(1, rollout.targets)} value={confirmed} aria-label={rollout.rollout_id} />
              <span>{texts.fleet.confirmed(count(confirmed, locale), count(rollout.targets, locale))}</span>
            </div>
          </li>
        );
      })}
    </ul>
  );
}
