/** What the facts about a silent device say: how late it is, whether its site is to blame, and a note for somebody else. */

import type { Command, Investigation, PresenceCounts } from "../../api/types";
import { duration, utc } from "../../format/time";
import { missing, registered } from "../../format/presence";
import type { Texts } from "../../texts/en";

/** Milliseconds behind the time at which its heartbeat was expected; none if it is not late or was never heard. */
export function lateMs({ at, expected_at }: Pick<Investigation, "at" | "expected_at">): number | undefined {
  if (!expected_at) return undefined;
  const late = Date.parse(at) - Date.parse(expected_at);
  return late > 0 ? late : undefined;
}

export type SiteVerdict = "site" | "some" | "alone" | "only";

/** Whether the site is to blame: if most of it is silent, look there first. */
export function siteVerdict(counts: PresenceCounts): SiteVerdict {
  if (registered(counts) < 2) return "only";
  if (missing(counts) > 1 && missing(counts) * 2 > registered(counts)) return "site";
  return missing(counts) > 1 ? "some" : "alone";
}

/** How long before it fell silent a firmware counts as new. */
const NEW_FIRMWARE_MS = 3 * 86_400_000;

/** Whether it fell silent soon after it got new firmware. */
export function isFirmwareNew({ device, presence, firmware_history: history }: Investigation): boolean {
  const [newest] = history;
  if (presence === "ONLINE" || !newest || history.length < 2 || !device.last_seen_at) return false;
  return Date.parse(device.last_seen_at) - Date.parse(newest.since) < NEW_FIRMWARE_MS;
}

/** The order of log lines that waits for the device, if there is one. */
export function waitingForLogs({ pending_commands: pending }: Investigation): Command | undefined {
  return pending.findLast((command) => command.kind === "fetch_logs");
}

/** Lines of a note, at most so many log lines and commands. */
const LINES_MAX = 10;

const oneLine = (text: string) => text.replace(/\s+/g, " ");

/** All of it as text, to be sent to somebody who does not see this page. Times are in UTC. */
export function escalationNote(about: Investigation, site: PresenceCounts | undefined, texts: Texts, locale: string): string {
  const { device, last_heartbeat: last } = about;
  const words = texts.device;
  const at = (time: string | null | undefined) => (time ? utc(new Date(time)) : texts.never);
  const silence = typeof about.silence_s === "number" ? duration(about.silence_s, locale) : texts.unknown;
  const lines = [
    `${device.device_id}: ${texts.status[device.status]}, ${texts.presence[about.presence]}`,
    `${texts.devices.serial}: ${oneLine(device.serial)}`,
    `${texts.devices.model}: ${oneLine(`${device.manufacturer} ${device.model}`)}`,
    `${texts.devices.site}: ${oneLine(device.site)}`,
    ...(device.labels.length > 0 ? [`${texts.devices.labels}: ${device.labels.map(oneLine).join(", ")}`] : []),
    `${texts.devices.lastSeen}: ${at(device.last_seen_at)}`,
    `${words.expectedAt}: ${at(about.expected_at)}`,
    `${words.silence}: ${silence}`,
    ...(site ? [`${texts.investigate.missingAtSite}: ${words.siteSilent(String(missing(site)), String(registered(site)))}`] : []),
    ...(last
      ? [
          `${words.network}: ${last.network}${typeof last.rssi_dbm === "number" ? `, ${last.rssi_dbm} dBm` : ""}`,
          `${words.uptime}: ${duration(last.uptime_s, locale)}`,
          `${words.temperature}: ${last.cpu_temp_c} °C`,
          `${words.memory}: ${last.free_mem_kib} KiB`,
          `${words.clock}: ${last.clock_ahead_ms} ms`,
        ]
      : []),
    `${words.keyset}: ${device.keyset_version} (${texts.investigate.newestKeyset(String(about.newest_keyset))})`,
    ...section(words.findings, about.findings),
    ...section(
      texts.devices.firmware,
      about.firmware_history.map((run) => `${at(run.since)}  ${run.firmware_version} (${run.release_counter})`),
    ),
    ...section(
      texts.investigate.waiting,
      about.pending_commands.map((command) => `${at(command.created_at)}  ${command.kind} ${texts.commandState[command.state]}`),
    ),
    ...section(
      texts.investigate.logs,
      about.recent_logs.map((line) => `${at(line.at)}  ${line.level}  ${line.message}`),
    ),
    "",
    texts.updatedAt(at(about.at)),
  ];
  return lines.join("\n");
}

function section(title: string, entries: readonly string[]): string[] {
  if (entries.length === 0) return [];
  return ["", `${title}:`, ...entries.slice(0, LINES_MAX).map((entry) => `- ${oneLine(entry)}`)];
}
