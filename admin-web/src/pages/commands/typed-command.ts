/** A command as it is typed, and what the API takes for it. */

import type { CommandOrder, LogLevel } from "../../api/types";

export const KINDS = ["fetch_logs", "reboot", "set_config", "rotate_key", "add_key", "halt_updates", "custom"] as const;
export type Kind = (typeof KINDS)[number];

export interface TypedCommand {
  readonly kind: Kind;
  readonly level: LogLevel;
  readonly linesMax: string;
  readonly name: string;
  readonly value: string;
  readonly keysetVersion: string;
  readonly releaseId: string;
  readonly customKind: string;
  readonly argument: string;
}

export const NO_COMMAND: TypedCommand = {
  kind: "fetch_logs",
  level: "info",
  linesMax: "200",
  name: "",
  value: "",
  keysetVersion: "",
  releaseId: "",
  customKind: "",
  argument: "",
};

/** How long commands may wait for their device, in seconds. */
export const TTLS_S = [3_600, 86_400, 7 * 86_400, 30 * 86_400] as const;

function wholeNumber(text: string): number | undefined {
  return /^[1-9]\d{0,8}$/.test(text.trim()) ? Number(text.trim()) : undefined;
}

/** The command; none as long as something that it needs is missing. */
export function commandOf(typed: TypedCommand): CommandOrder | undefined {
  switch (typed.kind) {
    case "fetch_logs": {
      const lines_max = wholeNumber(typed.linesMax);
      if (lines_max === undefined && typed.linesMax.trim() !== "") return undefined;
      return { kind: "fetch_logs", argument: { level: typed.level, ...(lines_max === undefined ? {} : { lines_max }) } };
    }
    case "reboot":
    case "rotate_key":
      return { kind: typed.kind };
    case "set_config":
      return typed.name.trim() === "" ? undefined : { kind: "set_config", argument: { name: typed.name.trim(), value: typed.value } };
    case "add_key": {
      const keyset_version = wholeNumber(typed.keysetVersion);
      return keyset_version === undefined ? undefined : { kind: "add_key", argument: { keyset_version } };
    }
    case "halt_updates": {
      const release_id = typed.releaseId.trim();
      return { kind: "halt_updates", argument: release_id === "" ? {} : { release_id } };
    }
    case "custom":
      if (!/^[a-z_]{1,32}$/.test(typed.customKind)) return undefined;
      return { kind: "custom", argument: { kind: typed.customKind, argument: typed.argument } };
  }
}
