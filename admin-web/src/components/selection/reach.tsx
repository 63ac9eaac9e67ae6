/** Which devices a selection hits: counts from the API, before anything is done. */

import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { answer, api } from "../../api/client";
import { ApiProblem } from "../../api/problem";
import { selectedQuery } from "../../api/queries";
import type { DeviceSelector, PresenceCounts, SelectedPresence } from "../../api/types";
import { count } from "../../format/number";
import { registered } from "../../format/presence";
import type { Texts } from "../../texts/en";
import { useLanguage } from "../../texts/language";
import { PAUSE_MS } from "../paused-text";
import { Empty, Failed, Waiting } from "../states";
import { hits, idsOf, type Selection, whichOf } from "./selection";

/** What a selection hits now; none until it is counted. */
export function useSelected(selection: Selection) {
  const [which, setWhich] = useState(() => whichOf(selection));
  useEffect(() => {
    const timer = window.setTimeout(() => setWhich(whichOf(selection)), PAUSE_MS);
    return () => window.clearTimeout(timer);
  }, [selection]);
  const isCurrent = JSON.stringify(which) === JSON.stringify(whichOf(selection));
  const { data, error, refetch } = useQuery(selectedQuery(which));
  return { which: isCurrent ? which : undefined, selected: isCurrent ? data : undefined, error: isCurrent ? error : null, refetch };
}

/**
 * Makes sure that a selection hits what was confirmed.
 *
 * @throws ApiProblem if it is another number by now.
 */
export async function checkReach(which: DeviceSelector, confirmed: SelectedPresence, texts: Texts): Promise<void> {
  const now = await answer(api.POST("/api/presence", { body: { which } }));
  if (hits(now) !== hits(confirmed)) throw new ApiProblem(409, texts.selection.changed(String(hits(now))));
}

interface ReachProps extends ReturnType<typeof useSelected> {
  readonly selection: Selection;
  /** Devices that are hit, and what happens to them. */
  readonly says: (count: number, shown: string) => string;
}

export function Reach({ selection, which, selected, error, refetch, says }: ReachProps) {
  const { texts, locale } = useLanguage();
  return (
    <section className="panel" aria-labelledby="reach">
      <h2 id="reach">{texts.selection.reach}</h2>
      <div role="status" className="form">
        {whichOf(selection) === undefined && <Empty>{texts.selection.nobody}</Empty>}
        {whichOf(selection) !== undefined && !selected && !error && <Waiting />}
        {selected && <p className={hits(selected) > 0 ? "notice warn" : "notice"}>{says(hits(selected), count(hits(selected), locale))}</p>}
      </div>
      {which && error && <Failed error={error} retry={() => void refetch()} />}
      {selected && <Counted selected={selected} named={idsOf(selection.device_ids).length} />}
    </section>
  );
}

/** Names that are listed, of sites and of devices that were not found. */
const NAMES_SHOWN = 8;

function Counted({ selected, named }: { selected: SelectedPresence; named: number }) {
  const { texts, locale } = useLanguage();
  const { total } = selected;
  const facts: [string, number][] = [
    [texts.selection.online, total.online],
    [texts.selection.silent, registered(total) - total.online],
    [texts.fleet.whitelisted, total.whitelisted],
    [texts.fleet.revoked, total.revoked],
  ];
  const left = selected.not_selected_count;
  return (
    <>
      <dl className="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{count(value, locale)}</dd>
          </div>
        ))}
        <Names name={texts.devices.site} byName={selected.sites} />
        <Names name={texts.devices.model} byName={selected.models} />
      </dl>
      {left > 0 && (
        <p className="notice warn">
          {texts.selection.notSelected(count(left, locale), count(named, locale))}{" "}
          <span>{shortened(selected.not_selected, left, locale)}</span>
        </p>
      )}
    </>
  );
}

function Names({ name, byName }: { name: string; byName: Readonly<Record<string, PresenceCounts>> }) {
  const { locale } = useLanguage();
  const all = Object.entries(byName).map(([name, counts]) => [name, registered(counts) + counts.whitelisted] as const);
  const found = all.filter(([, devices]) => devices > 0).sort(([, one], [, other]) => other - one);
  if (found.length === 0) return null;
  const shown = found.map(([name, devices]) => `${name} (${count(devices, locale)})`);
  return (
    <div>
      <dt>{name}</dt>
      <dd>{shortened(shown, shown.length, locale)}</dd>
    </div>
  );
}

/** The first names of a list, and how many more there are. */
function shortened(names: readonly string[], all: number, locale: string): string {
  const shown = names.slice(0, NAMES_SHOWN);
  return all > shown.length ? `${shown.join(", ")} +${count(all - shown.length, locale)}` : shown.join(", ");
}
