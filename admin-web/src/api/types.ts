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
export type CommandOrder = Schemas["CommandOrder"];
export type OrderProgress = Schemas["OrderProgress"];
export type DeviceSelector = Schemas["DeviceSelector"];
export type SelectedPresence = Schemas["SelectedPresence"];
