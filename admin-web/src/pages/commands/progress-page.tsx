/** An order: how far it is, and the command of each device. */

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, useNavigate } from "@tanstack/react-router";

import { ApiProblem } from "../../api/problem";
import { commandListQuery, orderQuery } from "../../api/queries";
import type { OrderProgress } from "../../api/types";
import { CommandBadge } from "../../components/badges";
import { ChosenFilter } from "../../components/filters";
import { PageHead } from "../../components/page-head";
import { Empty, Loaded } from "../../components/states";
import { count } from "../../format/number";
import { useLanguage } from "../../texts/language";
import { CommandList } from "./command-list";
import { OPEN_STATES, STATES } from "./filter";

const route = getRouteApi("/commands/orders/$orderId");

export function ProgressPage() {
  const { texts } = useLanguage();
  const { orderId } = route.useParams();
  const { state } = route.useSearch();
  const navigate = useNavigate();
  const order = useQuery(orderQuery(orderId));
  const commands = useInfiniteQuery(commandListQuery({ order_id: orderId, ...(state ? { state } : {}) }));
  const title = texts.commands.orderTitle(orderId);
  if (order.error instanceof ApiProblem && (order.error.status === 404 || order.error.status === 400)) {
    return (
      <>
        <PageHead title={title} />
        <p className="notice warn">{texts.commands.unknownOrder(orderId)}</p>
      </>
    );
  }
  const choose = (chosen: string) => {
    const search = STATES.some((one) => one === chosen) ? { state: chosen as (typeof STATES)[number] } : {};
    void navigate({ to: "/commands/orders/$orderId", params: { orderId }, search, replace: true, resetScroll: false });
  };
  return (
    <>
      <PageHead title={title} />
      <section className="panel" aria-labelledby="progress">
        <h2 id="progress">{texts.commands.progress}</h2>
        <Loaded query={order}>{(progress) => <Progress progress={progress} />}</Loaded>
      </section>
      <section className="panel" aria-labelledby="commands">
        <h2 id="commands">{texts.commands.title}</h2>
        <search className="filters narrow" aria-label={texts.devices.filters}>
          <ChosenFilter name={texts.device.state} value={state} onChange={choose}>
            {STATES.map((one) => (
              <option key={one} value={one}>
                {texts.commandState[one]}
              </option>
            ))}
          </ChosenFilter>
        </search>
        <CommandList query={commands} isOfOrder />
      </section>
    </>
  );
}

function Progress({ progress }: { progress: OrderProgress }) {
  const { texts, locale } = useLanguage();
  const { counts, finished } = progress;
  const all = counts.reduce((sum, { commands }) => sum + commands, 0);
  const open = counts.filter(({ state }) => OPEN_STATES.includes(state)).reduce((sum, { commands }) => sum + commands, 0);
  if (all === 0) return <Empty>{texts.commands.none}</Empty>;
  const said = texts.commands.endedOf(count(all - open, locale), count(all, locale));
  return (
    <>
      <p className={finished ? "notice good" : "notice"} role="status">
        {finished ? texts.commands.finished : said}
      </p>
      <meter min={0} max={all} value={all - open} aria-label={said} />
      <ul className="shares">
        {STATES.flatMap((state) => counts.filter((one) => one.state === state)).map(({ state, commands }) => (
          <li key={state}>
            <CommandBadge state={state} />
            <meter min={0} max={all} value={commands} aria-label={texts.commandState[state]} />
            <span>{count(commands, locale)}</span>
          </li>
        ))}
      </ul>
    </>
  );
}
