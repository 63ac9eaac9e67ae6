/** Short names for what the API sends. */

import type { components } from "./schema";

type Schemas = components["schemas"];

export type Me = Schemas["Me"];
export type Role = Schemas["Role"];
export type Device = Schemas["ListedDevice"];
export type DeviceDetails = Schemas["DeviceWithLimits"];
export type DeviceStatus = Schemas["DeviceStatus"];
export type Presence = Schemas["Presence"];
export type PresenceFilter = Schemas["PresenceFilter"];
export type PresenceCounts = Schemas["Counts"];
export type FleetPresence = Schemas["FleetPresence"];
export type Heartbeat = Schemas["HeartbeatDetails"];
export type Investigation = Schemas["Investigation"];
export type Command = Schemas["Command"];
export type CommandState = Schemas["CommandState"];
export type LogLine = Schemas["LogLine"];
export type LogLevel = Schemas["LogLevel"];
export type Punch = Schemas["Punch"];
export type AuditEntry = Schemas["AuditEntry"];
export type Rollout = Schemas["Rollout"];
export type KeysStatus = Schemas["KeysStatus"];
export type ImportResult = Schemas["ImportResult"];
export type CreatedOtrts = Schemas["CreatedOtrts"];
export type ServerKey = Schemas["ServerKey"];
export type LimitsStatus = Schemas["LimitsStatus"];
export type LimitStatus = Schemas["LimitStatus"];
export type User = Schemas["User"];
export type Token = Schemas["Token"];
export type CreatedToken = Schemas["CreatedToken"];
export type Verification = Schemas["Verification"];
