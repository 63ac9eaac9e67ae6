/** Words of state with a colour; the word alone says it all. */

import type {
  CommandState,
  DeviceStatus,
  GateReading,
  LogLevel,
  Presence,
  ReleaseState,
  Rollout,
  UpdateState,
} from "../api/types";
import { useTexts } from "../texts/language";

type Tone = "good" | "warn" | "bad" | "calm";

const PRESENCE: Record<Presence, Tone> = {
  ONLINE: "good",
  UNKNOWN: "calm",
  LATE: "warn",
  OFFLINE: "bad",
  LOST: "bad",
  NEVER: "calm",
};
const STATUS: Record<DeviceStatus, Tone> = { WHITELISTED: "calm", REGISTERED: "good", REVOKED: "bad" };
const COMMAND: Record<CommandState, Tone> = {
  QUEUED: "calm",
  DELIVERED: "calm",
  RECEIVED: "calm",
  SUCCEEDED: "good",
  FAILED: "bad",
  REJECTED: "bad",
  TIMED_OUT: "warn",
  CANCELED: "calm",
};
const LEVEL: Record<LogLevel, Tone> = { debug: "calm", info: "calm", warn: "warn", error: "bad" };
const ROLLOUT: Record<Rollout["status"], Tone> = {
  RUNNING: "good",
  WAITING: "warn",
  PAUSED: "warn",
  ABORTED: "bad",
  COMPLETED: "calm",
};
const RELEASE: Record<ReleaseState, Tone> = { DRAFT: "calm", STAGED: "warn", ACTIVE: "good", REVOKED: "bad" };
const VERDICT: Record<GateReading["verdict"], Tone> = { PASS: "good", FAIL: "bad", INCONCLUSIVE: "calm" };
const UPDATE: Record<UpdateState, Tone> = {
  PENDING: "calm",
  OFFERED: "calm",
  DOWNLOADING: "calm",
  INSTALLING: "calm",
  CONFIRMING: "calm",
  CONFIRMED: "good",
  FAILED: "bad",
  REJECTED: "bad",
  TIMED_OUT: "bad",
  LOST: "bad",
  ROLLED_BACK: "bad",
  FALSE_SUCCESS: "bad",
  HALTED: "warn",
  WITHDRAWN: "warn",
};

export function PresenceBadge({ presence }: { presence: Presence }) {
  const texts = useTexts();
  return (
    <span className={`badge ${PRESENCE[presence]}`} title={texts.presenceHelp[presence]}>
      {texts.presence[presence]}
    </span>
  );
}

export function StatusBadge({ status }: { status: DeviceStatus }) {
  return <span className={`badge ${STATUS[status]}`}>{useTexts().status[status]}</span>;
}

export function CommandBadge({ state }: { state: CommandState }) {
  return <span className={`badge ${COMMAND[state]}`}>{useTexts().commandState[state]}</span>;
}

export function LevelBadge({ level }: { level: LogLevel }) {
  return <span className={`badge ${LEVEL[level]}`}>{level}</span>;
}

export function RolloutBadge({ status }: { status: Rollout["status"] }) {
  return <span className={`badge ${ROLLOUT[status]}`}>{useTexts().rolloutStatus[status]}</span>;
}

export function ReleaseBadge({ state }: { state: ReleaseState }) {
  const texts = useTexts().releases;
  return (
    <span className={`badge ${RELEASE[state]}`} title={texts.stateHelp[state]}>
      {texts.states[state]}
    </span>
  );
}

export function VerdictOfGate({ verdict }: { verdict: GateReading["verdict"] }) {
  return <span className={`badge ${VERDICT[verdict]}`}>{useTexts().rollouts.verdict[verdict]}</span>;
}

export function UpdateBadge({ state }: { state: UpdateState }) {
  return <span className={`badge ${UPDATE[state]}`}>{useTexts().rollouts.updateState[state]}</span>;
}
