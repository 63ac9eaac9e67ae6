/** What a device is and where it stands, with what can be edited of it. */

import { type ReactNode, useState } from "react";

import type { DeviceDetails, Investigation } from "../../api/types";
import { mayOperate, mayProvision } from "../../app/pages";
import { useMe } from "../../app/session-gate";
import { Moment, useNow } from "../../components/time";
import { quantity } from "../../format/number";
import { duration } from "../../format/time";
import type { Texts } from "../../texts/en";
import { useLanguage } from "../../texts/language";
import { EditDialog } from "./edit-dialog";
import { ReprovisionDialog } from "./reprovision-dialog";

interface IdentityProps {
  readonly device: DeviceDetails;
  readonly about: Investigation | undefined;
}

export function Identity({ device, about }: IdentityProps) {
  const { texts, locale } = useLanguage();
  const me = useMe();
  const [asked, setAsked] = useState<"edit" | "reprovision">();
  const close = () => setAsked(undefined);
  const facts = [...identity(device, texts), ...(about ? condition(about, texts, locale) : [])];
  return (
    <section className="panel" aria-labelledby="identity">
      <div className="page-head">
        <h2 id="identity">{texts.device.facts}</h2>
        <span className="aside row">
          {mayOperate(me.role) && (
            <button type="button" onClick={() => setAsked("edit")}>
              {texts.device.edit}
            </button>
          )}
          {mayProvision(me.role) && (
            <button type="button" onClick={() => setAsked("reprovision")}>
              {texts.device.reprovision.open}
            </button>
          )}
        </span>
      </div>
      <dl className="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {asked === "edit" && <EditDialog device={device} close={close} />}
      {asked === "reprovision" && <ReprovisionDialog device={device} close={close} />}
    </section>
  );
}

function identity(device: DeviceDetails, texts: Texts): [string, ReactNode][] {
  const labels = device.labels.map((label) => (
    <span className="tag" key={label}>
      {label}
    </span>
  ));
  const facts: [string, ReactNode][] = [
    [texts.devices.serial, device.serial],
    [texts.device.manufacturer, device.manufacturer],
    [texts.devices.model, device.model],
    [texts.devices.site, device.site],
    [texts.devices.labels, labels.length > 0 ? <span className="row">{labels}</span> : texts.none],
    [texts.devices.firmware, device.firmware_version || texts.unknown],
    [texts.device.registeredAt, <Moment key="at" at={device.registered_at} />],
    [texts.device.publicKey, <code key="key">{device.public_key}</code>],
    [texts.device.pair, <code key="pair">{`${device.boot_epoch}, ${device.seq}`}</code>],
  ];
  if (device.revoked_at) {
    facts.push([texts.device.revokedAt, <Moment key="at" at={device.revoked_at} />]);
    facts.push([texts.device.revokeReason, device.revoke_reason ?? ""]);
  }
  return facts;
}

function condition(about: Investigation, texts: Texts, locale: string): [string, ReactNode][] {
  const last = about.last_heartbeat;
  const { device, newest_keyset: newest } = about;
  const facts: [string, ReactNode][] = [
    [texts.devices.lastSeen, <LastSeen key="seen" at={device.last_seen_at} />],
    [texts.device.expectedAt, <Moment key="at" at={about.expected_at} />],
    [texts.device.siteDevices, texts.device.siteSilent(String(about.site_offline), String(about.site_devices))],
  ];
  if (last) {
    const signal = typeof last.rssi_dbm === "number" ? `, ${quantity(last.rssi_dbm, "dBm", locale)}` : "";
    const isBehind = device.keyset_version !== newest;
    facts.push([texts.device.network, `${last.network}${signal}`]);
    facts.push([texts.device.clock, clockText(last.clock_ahead_ms, texts, locale)]);
    facts.push([
      texts.device.keyset,
      isBehind ? texts.device.keysetBehind(String(device.keyset_version), String(newest)) : String(newest),
    ]);
  }
  return facts;
}

/** How far its clock is off, in words. */
export function clockText(aheadMs: number, texts: Texts, locale: string): string {
  if (Math.abs(aheadMs) < 1_000) return texts.device.clockRight;
  const shown = duration(Math.abs(aheadMs) / 1_000, locale);
  return aheadMs > 0 ? texts.device.clockAhead(shown) : texts.device.clockBehind(shown);
}

function LastSeen({ at }: { at: string | null | undefined }) {
  const now = useNow();
  return <Moment at={at} relativeTo={now} />;
}
