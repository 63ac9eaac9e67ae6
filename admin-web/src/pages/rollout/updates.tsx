/** Every device of a rollout with its progress, filtered by state; the filter is in the address. */

import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";

import { updatesQuery } from "../../api/queries";
import type { UpdateState } from "../../api/types";
import { UpdateBadge } from "../../components/badges";
import { ChoiceField } from "../../components/fields";
import { PagedList } from "../../components/list";
import { Moment } from "../../components/time";
import { count } from "../../format/number";
import { useLanguage } from "../../texts/language";
import { STATES } from "./counts";
import { readState } from "./state";

export function Updates({ rolloutId, state }: { rolloutId: string; state: UpdateState | undefined }) {
  const { texts, locale } = useLanguage();
  const words = texts.rollouts;
  const navigate = useNavigate();
  const choose = (chosen: UpdateState | "") =>
    void navigate({
      to: "/rollouts/$rolloutId",
      params: { rolloutId },
      search: readState({ state: chosen }),
      replace: true,
      resetScroll: false,
    });
  return (
    <section className="panel" aria-labelledby="devices">
      <h2 id="devices">{words.devices}</h2>
      <div className="narrow">
        <ChoiceField<UpdateState | "">
          name={words.state}
          value={state ?? ""}
          options={[["", words.anyState], ...STATES.map((state) => [state, words.updateState[state]] as const)]}
          onChoose={choose}
        />
      </div>
      <PagedList
        query={useInfiniteQuery(updatesQuery(rolloutId, state))}
        heads={[words.device, words.model, words.site, words.stage, words.state, words.class, words.since, words.lastSeen]}
        rowKey={(update) => update.device_id}
        cells={(update) => [
          <Link key="id" to="/devices/$deviceId" params={{ deviceId: update.device_id }}>
            {update.device_id}
          </Link>,
          update.model,
          update.site,
          count(update.stage + 1, locale),
          <UpdateBadge key="state" state={update.state} />,
          [update.class, update.detail].filter(Boolean).join(": "),
          update.state === "PENDING" ? "" : <Moment key="since" at={update.ended_at ?? update.progress_at} />,
          <Moment key="seen" at={update.last_seen_at} />,
        ]}
        empty={words.noDevices}
      />
    </section>
  );
}
