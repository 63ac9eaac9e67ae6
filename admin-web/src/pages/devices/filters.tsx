/** The fields of the filter; each change is a new address, so that a filter can be sent to somebody. */

import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type ReactNode, useEffect, useId, useState } from "react";

import { type DeviceFilter, presenceQuery } from "../../api/queries";
import { mayRead } from "../../app/pages";
import { useMe } from "../../app/session-gate";
import { useTexts } from "../../texts/language";
import { changed, PRESENCES, STATUSES } from "./filter";

/** How long after the last key a typed text is searched for. */
const PAUSE_MS = 300;

export function Filters({ filter }: { filter: DeviceFilter }) {
  const texts = useTexts();
  const navigate = useNavigate();
  const me = useMe();
  // What there is to choose from. Roles that may not read it type the names.
  const { data: fleet } = useQuery({ ...presenceQuery, enabled: mayRead(me.role), refetchInterval: false });
  const change = (field: keyof DeviceFilter) => (value: string) => {
    void navigate({ to: "/devices", search: changed(filter, field, value), replace: true });
  };
  return (
    <search className="filters" aria-label={texts.devices.filters}>
      <TypedFilter
        className="search"
        name={texts.devices.search}
        hint={texts.devices.searchHint}
        value={filter.search}
        onChange={change("search")}
      />
      <NamedFilter name={texts.devices.site} value={filter.site} names={keys(fleet?.sites)} onChange={change("site")} />
      <NamedFilter name={texts.devices.model} value={filter.model} names={keys(fleet?.models)} onChange={change("model")} />
      <NamedFilter
        name={texts.devices.firmware}
        value={filter.firmware_version}
        names={keys(fleet?.firmware)}
        onChange={change("firmware_version")}
      />
      <TypedFilter name={texts.devices.label} value={filter.label} onChange={change("label")} />
      <ChosenFilter name={texts.devices.presence} value={filter.presence} onChange={change("presence")}>
        {PRESENCES.map((presence) => (
          <option key={presence} value={presence}>
            {texts.presence[presence]}
          </option>
        ))}
      </ChosenFilter>
      <ChosenFilter name={texts.devices.status} value={filter.status} onChange={change("status")}>
        {STATUSES.map((status) => (
          <option key={status} value={status}>
            {texts.status[status]}
          </option>
        ))}
      </ChosenFilter>
      {Object.keys(filter).length > 0 && (
        <button type="button" onClick={() => void navigate({ to: "/devices", search: {} })}>
          {texts.devices.clear}
        </button>
      )}
    </search>
  );
}

function keys(byName: object | undefined): string[] {
  return Object.keys(byName ?? {}).filter((name) => name !== "");
}

interface FilterProps {
  readonly name: string;
  readonly value: string | undefined;
  readonly onChange: (value: string) => void;
}

function ChosenFilter({ name, value, onChange, children }: FilterProps & { children: ReactNode }) {
  const texts = useTexts();
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{name}</label>
      <select id={id} value={value ?? ""} onChange={(event) => onChange(event.target.value)}>
        <option value="">{texts.all}</option>
        {children}
      </select>
    </div>
  );
}

/** One of the names in the fleet; typed where they are not known. */
function NamedFilter({ names, ...filter }: FilterProps & { names: readonly string[] }) {
  if (names.length === 0) return <TypedFilter {...filter} />;
  const all = filter.value === undefined || names.includes(filter.value) ? names : [filter.value, ...names];
  return (
    <ChosenFilter {...filter}>
      {all.map((name) => (
        <option key={name} value={name}>
          {name}
        </option>
      ))}
    </ChosenFilter>
  );
}

interface TypedFilterProps extends FilterProps {
  readonly hint?: string;
  readonly className?: string;
}

function TypedFilter({ name, value = "", onChange, hint, className = "" }: TypedFilterProps) {
  const id = useId();
  const [typed, setTyped] = useState(value);
  const [known, setKnown] = useState(value);
  // Another address, such as after "back": what it says counts.
  if (value !== known) {
    setKnown(value);
    setTyped(value);
  }
  useEffect(() => {
    if (typed === value) return;
    const timer = window.setTimeout(() => onChange(typed), PAUSE_MS);
    return () => window.clearTimeout(timer);
  });
  return (
    <div className={`field ${className}`}>
      <label htmlFor={id}>{name}</label>
      <input id={id} type="search" placeholder={hint} value={typed} onChange={(event) => setTyped(event.target.value)} />
    </div>
  );
}
