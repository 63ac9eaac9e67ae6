/** The fields of the filter of the device list. */

import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";

import { type DeviceFilter, presenceQuery } from "../../api/queries";
import { mayRead } from "../../app/pages";
import { useMe } from "../../app/session-gate";
import { ChosenFilter, NamedFilter, namesOf, TypedFilter } from "../../components/filters";
import { useTexts } from "../../texts/language";
import { changed, PRESENCES, STATUSES } from "./filter";

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
      <NamedFilter name={texts.devices.site} value={filter.site} names={namesOf(fleet?.sites)} onChange={change("site")} />
      <NamedFilter name={texts.devices.model} value={filter.model} names={namesOf(fleet?.models)} onChange={change("model")} />
      <NamedFilter
        name={texts.devices.firmware}
        value={filter.firmware_version}
        names={namesOf(fleet?.firmware)}
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
