/** Every command, the last ones first, with filters. */

import { useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";

import { type CommandFilter, commandListQuery } from "../../api/queries";
import { mayOperate } from "../../app/pages";
import { useMe } from "../../app/session-gate";
import { ChosenFilter, TypedFilter } from "../../components/filters";
import { PageHead } from "../../components/page-head";
import { useTexts } from "../../texts/language";
import { CommandList } from "./command-list";
import { changedFilter, STATES } from "./filter";

const route = getRouteApi("/commands");

export function CommandsPage() {
  const texts = useTexts();
  const me = useMe();
  const filter = route.useSearch();
  const commands = useInfiniteQuery(commandListQuery(filter));
  const order = (
    <Link className="button" to="/commands/new">
      {texts.commands.order}
    </Link>
  );
  return (
    <>
      <PageHead title={texts.commands.title} aside={mayOperate(me.role) && order} />
      <Filters filter={filter} />
      <section className="panel" aria-label={texts.commands.title}>
        <CommandList query={commands} isOfOrder={false} />
      </section>
    </>
  );
}

function Filters({ filter }: { filter: CommandFilter }) {
  const texts = useTexts();
  const navigate = useNavigate();
  const change = (field: keyof CommandFilter) => (value: string) => {
    void navigate({ to: "/commands", search: changedFilter(filter, field, value), replace: true });
  };
  return (
    <search className="filters" aria-label={texts.devices.filters}>
      <TypedFilter name={texts.commands.device} value={filter.device_id} onChange={change("device_id")} />
      <TypedFilter name={texts.commands.orderId} value={filter.order_id} onChange={change("order_id")} />
      <ChosenFilter name={texts.device.state} value={filter.state} onChange={change("state")}>
        {STATES.map((state) => (
          <option key={state} value={state}>
            {texts.commandState[state]}
          </option>
        ))}
      </ChosenFilter>
      <ChosenFilter name={texts.commands.ended} value={filter.open ? "true" : undefined} onChange={change("open")}>
        <option value="true">{texts.commands.openOnly}</option>
      </ChosenFilter>
      {Object.keys(filter).length > 0 && (
        <button type="button" onClick={() => void navigate({ to: "/commands", search: {} })}>
          {texts.devices.clear}
        </button>
      )}
    </search>
  );
}
