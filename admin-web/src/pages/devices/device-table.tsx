/** The list of devices: only the rows in view exist, and more are loaded near the end. */

import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";

import type { Device } from "../../api/types";
import { PresenceBadge, StatusBadge } from "../../components/badges";
import { type Column, GridTable } from "../../components/grid-table";
import { Moment, useNow } from "../../components/time";
import type { Texts } from "../../texts/en";
import { useTexts } from "../../texts/language";

interface DeviceTableProps {
  readonly devices: readonly Device[];
  readonly isBusy: boolean;
  readonly loadMore: (() => unknown) | undefined;
}

export function DeviceTable({ devices, isBusy, loadMore }: DeviceTableProps) {
  const texts = useTexts();
  const now = useNow();
  return (
    <GridTable
      name={texts.devices.title}
      columns={columns(texts, now)}
      layout="devices"
      rows={devices}
      rowKey={(device) => device.device_id}
      isBusy={isBusy}
      busyText={texts.devices.loadingMore}
      loadMore={loadMore}
    />
  );
}

function columns({ devices: texts }: Texts, now: Date): readonly Column<Device>[] {
  const column = (name: string, cell: (device: Device) => ReactNode) => ({ name, cell });
  return [
    column(texts.id, (device) => (
      <Link to="/devices/$deviceId" params={{ deviceId: device.device_id }} preload={false}>
        {device.device_id}
      </Link>
    )),
    column(texts.presence, (device) =>
      device.status === "REGISTERED" ? <PresenceBadge presence={device.presence} /> : <StatusBadge status={device.status} />,
    ),
    column(texts.lastSeen, (device) => <Moment at={device.last_seen_at} relativeTo={now} />),
    column(texts.model, (device) => device.model),
    column(texts.site, (device) => device.site),
    column(texts.firmware, (device) => device.firmware_version),
    column(texts.serial, (device) => device.serial),
    column(texts.labels, (device) => device.labels.join(", ")),
  ];
}
