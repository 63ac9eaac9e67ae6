/** Commands with what can be done about them. */

import type { UseInfiniteQueryResult } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import type { Command } from "../../api/types";
import { mayOperate } from "../../app/pages";
import { useMe } from "../../app/session-gate";
import { CommandBadge } from "../../components/badges";
import { PagedList } from "../../components/list";
import { Moment } from "../../components/time";
import { useTexts } from "../../texts/language";
import { CancelDialog } from "./cancel-dialog";

interface CommandListProps {
  readonly query: UseInfiniteQueryResult<{ readonly pages: readonly { readonly items: readonly Command[] }[] }>;
  /** Whether they are all of one order, which is then not named. */
  readonly isOfOrder: boolean;
}

export function CommandList({ query, isOfOrder }: CommandListProps) {
  const { device: words, commands: texts } = useTexts();
  const me = useMe();
  const [canceled, setCanceled] = useState<Command>();
  const isOperator = mayOperate(me.role);
  return (
    <>
      <PagedList
        query={query}
        heads={[
          texts.device,
          words.command,
          words.argument,
          words.state,
          words.ordered,
          words.deadline,
          words.finished,
          words.detail,
          ...(isOperator ? [texts.actions] : []),
        ]}
        rowKey={(command) => command.command_id}
        cells={(command) => [
          <Link key="device" to="/devices/$deviceId" params={{ deviceId: command.device_id }} search={{ tab: "commands" }} preload={false}>
            {command.device_id}
          </Link>,
          isOfOrder ? (
            command.kind
          ) : (
            <Link key="order" to="/commands/orders/$orderId" params={{ orderId: command.order_id }} preload={false}>
              {command.kind}
            </Link>
          ),
          <code key="argument">{command.argument}</code>,
          <CommandBadge key="state" state={command.state} />,
          <Moment key="ordered" at={command.created_at} />,
          <Moment key="deadline" at={command.deadline_at} />,
          command.finished_at ? <Moment key="finished" at={command.finished_at} /> : "",
          command.detail,
          ...(isOperator ? [command.finished_at ? "" : <CancelButton key="cancel" command={command} cancel={setCanceled} />] : []),
        ]}
        empty={texts.none}
      />
      {canceled && <CancelDialog command={canceled} close={() => setCanceled(undefined)} />}
    </>
  );
}

function CancelButton({ command, cancel }: { command: Command; cancel: (command: Command) => void }) {
  const texts = useTexts().commands;
  return (
    <button type="button" aria-label={texts.cancelOf(command.device_id)} onClick={() => cancel(command)}>
      {texts.cancel}
    </button>
  );
}
