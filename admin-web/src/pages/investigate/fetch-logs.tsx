/** Fetching a device's log lines now: orders a command, and follows it until the device has answered. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect } from "react";

import { answer, api } from "../../api/client";
import { firstCommandQuery } from "../../api/queries";
import type { Command, Investigation } from "../../api/types";
import { mayOperate } from "../../app/pages";
import { useMe } from "../../app/session-gate";
import { CommandBadge } from "../../components/badges";
import { Loaded, Problem } from "../../components/states";
import { Moment } from "../../components/time";
import { count } from "../../format/number";
import { duration } from "../../format/time";
import { useLanguage } from "../../texts/language";
import { waitingForLogs } from "./facts";

/** The newest lines say why; more would take the device long to send. */
const LINES_MAX = 200;
/** A device that is offline for longer than a day needs somebody on site. */
const TTL_S = 86_400;

interface FetchLogsProps {
  readonly about: Investigation;
  /** The order that is followed. */
  readonly orderId: string | undefined;
}

export function FetchLogs({ about, orderId }: FetchLogsProps) {
  const { texts, locale } = useLanguage();
  const me = useMe();
  const navigate = useNavigate();
  const queryClient = useQueryClient();
  const deviceId = about.device.device_id;
  const followed = orderId ?? waitingForLogs(about)?.order_id;
  const isWaiting = waitingForLogs(about) !== undefined;
  const fetching = useMutation({
    mutationFn: async () => {
      const body = {
        which: { all: false, device_ids: [deviceId] },
        command: { kind: "fetch_logs" as const, argument: { lines_max: LINES_MAX } },
        ttl_s: TTL_S,
        client_token: crypto.randomUUID(),
      };
      const { order_id: order } = await answer(api.POST("/api/commands", { body }));
      await navigate({
        to: "/devices/$deviceId/investigate",
        params: { deviceId },
        search: { order },
        replace: true,
        resetScroll: false,
      });
      // Until it is known that a command waits, another one could be ordered.
      await queryClient.invalidateQueries({ queryKey: ["device", deviceId] });
    },
  });
  return (
    <>
      {mayOperate(me.role) && about.device.status !== "REVOKED" && (
        <div className="row">
          <button
            type="button"
            className="primary"
            aria-disabled={fetching.isPending || isWaiting}
            onClick={() => !fetching.isPending && !isWaiting && fetching.mutate()}
          >
            {texts.investigate.fetch}
          </button>
          <span className="soft">{isWaiting ? texts.investigate.fetchWaits : texts.investigate.fetchHint(duration(TTL_S, locale))}</span>
        </div>
      )}
      <div role="alert" className="quiet">
        {fetching.error && <Problem error={fetching.error} />}
      </div>
      {followed !== undefined && <Followed orderId={followed} about={about} />}
    </>
  );
}

function Followed({ orderId, about }: { orderId: string; about: Investigation }) {
  const queryClient = useQueryClient();
  const command = useQuery(firstCommandQuery(orderId));
  const isFinished = Boolean(command.data?.finished_at);
  const deviceId = about.device.device_id;
  // Once it has ended, what the device has sent is asked for at once.
  useEffect(() => {
    if (isFinished) void queryClient.invalidateQueries({ queryKey: ["device", deviceId] });
  }, [isFinished, queryClient, deviceId]);
  return (
    <Loaded query={command}>
      {(found) => (found && found.device_id === deviceId ? <Steps command={found} logs={about.recent_logs} /> : null)}
    </Loaded>
  );
}

/** What has happened to the command, one step after the other. */
function Steps({ command, logs }: { command: Command; logs: Investigation["recent_logs"] }) {
  const { texts, locale } = useLanguage();
  const lines = logs.filter((line) => line.received_at >= command.created_at).length;
  const isReceived = command.state === "RECEIVED" || command.state === "SUCCEEDED" || command.state === "FAILED";
  return (
    <div className="form" role="status">
      <ol className="steps">
        <li className="done">
          {texts.investigate.steps.ordered} <Moment at={command.created_at} />
        </li>
        <li className={command.delivered_at ? "done" : ""}>
          {command.delivered_at ? (
            <>
              {texts.investigate.steps.delivered} <Moment at={command.delivered_at} />
            </>
          ) : (
            texts.investigate.steps.toDeliver
          )}
        </li>
        <li className={isReceived ? "done" : ""}>{isReceived ? texts.investigate.steps.received : texts.investigate.steps.toReceive}</li>
        <li className={command.finished_at ? "done" : ""}>
          {command.finished_at ? (
            <>
              <CommandBadge state={command.state} /> <Moment at={command.finished_at} />{" "}
              {lines > 0 && texts.investigate.steps.lines(lines, count(lines, locale))} {command.detail}
            </>
          ) : (
            texts.investigate.steps.toAnswer
          )}
        </li>
      </ol>
    </div>
  );
}
