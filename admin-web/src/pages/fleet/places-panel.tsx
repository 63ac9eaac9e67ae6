/** Presence by site or by model: those with missing devices first, and of the rest the largest. */

import { Link } from "@tanstack/react-router";
import { useState } from "react";

import type { PresenceCounts } from "../../api/types";
import { Empty } from "../../components/states";
import { count, share } from "../../format/number";
import { missing, registered } from "../../format/presence";
import { useLanguage } from "../../texts/language";
import { places } from "./counts";

/** Rows that are shown at first. */
const SHOWN = 12;

interface PlacesPanelProps {
  readonly title: string;
  readonly kind: "site" | "model";
  readonly byName: Readonly<Record<string, PresenceCounts>>;
}

export function PlacesPanel({ title, kind, byName }: PlacesPanelProps) {
  const { texts, locale } = useLanguage();
  const [isWhole, setWhole] = useState(false);
  const all = places(byName);
  const shown = isWhole ? all : all.slice(0, SHOWN);
  const headingId = `by-${kind}`;
  return (
    <section className="panel" aria-labelledby={headingId}>
      <h2 id={headingId}>{title}</h2>
      {all.length === 0 ? (
        <Empty>{texts.none}</Empty>
      ) : (
        <div className="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">{texts.fleet[kind]}</th>
                <th scope="col" className="number">
                  {texts.fleet.registered}
                </th>
                <th scope="col" className="number">
                  {texts.fleet.online}
                </th>
                <th scope="col" className="number">
                  {texts.fleet.missing}
                </th>
              </tr>
            </thead>
            <tbody>
              {shown.map(({ name, counts }) => (
                <tr key={name}>
                  <th scope="row">
                    <Link to="/devices" search={kind === "site" ? { site: name } : { model: name }}>
                      {name}
                    </Link>
                  </th>
                  <td className="number">{count(registered(counts), locale)}</td>
                  <td className="number">{share(counts.online, registered(counts), locale)}</td>
                  <td className="number">
                    {missing(counts) > 0 ? <span className="badge bad">{count(missing(counts), locale)}</span> : 0}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {shown.length < all.length && (
        <div>
          <button type="button" onClick={() => setWhole(true)}>
            {texts.more} ({count(all.length - shown.length, locale)})
          </button>
        </div>
      )}
    </section>
  );
}
