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
export type RolloutStatus = Schemas["RolloutStatus"];
export type RolloutSpec = Schemas["RolloutSpec"];
export type Progress = Schemas["Progress"];
export type GateProgress = Schemas["GateProgress"];
export type GateReading = Schemas["GateReading"];
export type Decision = Schemas["Decision"];
export type DeviceUpdate = Schemas["DeviceUpdate"];
export type UpdateState = Schemas["UpdateState"];
export type Policy = Schemas["Policy"];
export type Gate = Schemas["Gate"];
export type Plan = Schemas["Plan"];
export type DeviceSelector = Schemas["DeviceSelector"];
export type Release = Schemas["Release"];
export type ReleaseState = Schemas["ReleaseState"];
export type ReleaseFields = Schemas["ReleaseFields"];
export type Artifact = Schemas["Artifact"];
export type Outcome = Schemas["Outcome"];
export type CommandOrder = Schemas["CommandOrder"];
export type OrderProgress = Schemas["OrderProgress"];
export type SelectedPresence = Schemas["SelectedPresence"];
