/** What the pages about keys share. */

import { Link } from "@tanstack/react-router";

import { FLEET_POLL_MS, keysQuery } from "../../api/queries";
import type { ServerKey } from "../../api/types";
import { useTexts } from "../../texts/language";

/** Asked more often than elsewhere: here people wait for devices. */
export const watchedKeysQuery = { ...keysQuery, refetchInterval: FLEET_POLL_MS };

/** Devices by name, each with a link to its page. */
export function DeviceLinks({ devices }: { devices: readonly string[] }) {
  return (
    <ul className="row">
      {devices.map((device) => (
        <li key={device}>
          <Link to="/devices/$deviceId" params={{ deviceId: device }} preload={false}>
            {device}
          </Link>
        </li>
      ))}
    </ul>
  );
}

const TONE: Record<ServerKey["status"], string> = {
  ANNOUNCED: "warn",
  SIGNING: "good",
  RETIRED: "calm",
  FIRMWARE: "good",
  REMOVED: "calm",
};

export function KeyBadge({ status }: { status: ServerKey["status"] }) {
  return <span className={`badge ${TONE[status]}`}>{useTexts().keys.states[status]}</span>;
}
