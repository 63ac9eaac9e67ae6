/** What a device has done and what was done to it, as lists behind tabs. */

import { useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type ReactNode, useId, useState } from "react";
import { Tab, TabList, TabPanel, Tabs } from "react-aria-components";

import { auditQuery, commandsQuery, logsQuery, punchesQuery } from "../../api/queries";
import type { Investigation, LogLevel } from "../../api/types";
import { useMe } from "../../app/session-gate";
import { CommandBadge, LevelBadge } from "../../components/badges";
import { List, PagedList } from "../../components/list";
import { Said } from "../../components/said";
import { Moment } from "../../components/time";
import { useTexts } from "../../texts/language";
import { TABS, type Tab as TabName } from "./tab";

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

interface RecordsProps {
  readonly deviceId: string;
  readonly tab: TabName | undefined;
  readonly history: Investigation["firmware_history"] | undefined;
}

export function Records({ deviceId, tab, history }: RecordsProps) {
  const texts = useTexts();
  const navigate = useNavigate();
  const me = useMe();
  const tabs = TABS.filter((name) => name !== "audit" || me.role === "admin");
  const open = tab && tabs.includes(tab) ? tab : "firmware";
  const choose = (name: TabName) =>
    void navigate({ to: "/devices/$deviceId", params: { deviceId }, search: { tab: name }, replace: true, resetScroll: false });
  const contents: Record<TabName, () => ReactNode> = {
    firmware: () => <Firmware history={history ?? []} />,
    commands: () => <Commands deviceId={deviceId} />,
    logs: () => <Logs deviceId={deviceId} />,
    punches: () => <Punches deviceId={deviceId} />,
    audit: () => <Audit deviceId={deviceId} />,
  };
  return (
    <Tabs className="panel tabs" selectedKey={open} onSelectionChange={(key) => choose(key as TabName)}>
      <TabList aria-label={texts.device.about}>
        {tabs.map((name) => (
          <Tab key={name} id={name}>
            {texts.device.tabs[name]}
          </Tab>
        ))}
      </TabList>
      {tabs.map((name) => (
        <TabPanel key={name} id={name}>
          {contents[name]()}
        </TabPanel>
      ))}
    </Tabs>
  );
}

function Firmware({ history }: { history: Investigation["firmware_history"] }) {
  const texts = useTexts().device;
  return (
    <List
      heads={[texts.firmwareVersion, texts.release, texts.since]}
      rows={history}
      rowKey={(run) => run.since + run.firmware_version}
      cells={(run) => [run.firmware_version, String(run.release_counter), <Moment key="at" at={run.since} />]}
      empty={texts.noFirmware}
    />
  );
}

function Commands({ deviceId }: { deviceId: string }) {
  const texts = useTexts().device;
  return (
    <PagedList
      query={useInfiniteQuery(commandsQuery(deviceId))}
      heads={[texts.command, texts.argument, texts.state, texts.ordered, texts.deadline, texts.finished, texts.detail]}
      rowKey={(command) => command.command_id}
      cells={(command) => [
        command.kind,
        <code key="argument">{command.argument}</code>,
        <CommandBadge key="state" state={command.state} />,
        <Moment key="ordered" at={command.created_at} />,
        <Moment key="deadline" at={command.deadline_at} />,
        command.finished_at ? <Moment key="finished" at={command.finished_at} /> : "",
        command.detail,
      ]}
      empty={texts.noCommands}
    />
  );
}

function Logs({ deviceId }: { deviceId: string }) {
  const texts = useTexts().device;
  const id = useId();
  const [level, setLevel] = useState<LogLevel>("debug");
  return (
    <>
      <div className="row">
        <label htmlFor={id} className="label">
          {texts.level}
        </label>
        <select id={id} className="inline" value={level} onChange={(event) => setLevel(event.target.value as LogLevel)}>
          {LEVELS.map((name) => (
            <option key={name} value={name}>
              {name === "debug" ? texts.anyLevel : texts.levelAndWorse(name)}
            </option>
          ))}
        </select>
      </div>
      <PagedList
        query={useInfiniteQuery(logsQuery(deviceId, level === "debug" ? undefined : level))}
        heads={[texts.at, texts.level, texts.message]}
        rowKey={(line) => line.at + line.received_at + line.message}
        cells={(line) => [<Moment key="at" at={line.at} />, <LevelBadge key="level" level={line.level} />, line.message]}
        empty={texts.noLogs}
      />
    </>
  );
}

function Punches({ deviceId }: { deviceId: string }) {
  const { device: texts, attendance } = useTexts();
  return (
    <PagedList
      query={useInfiniteQuery(punchesQuery(deviceId))}
      heads={[texts.at, texts.badge, texts.direction, texts.method, texts.number, texts.received]}
      rowKey={(punch) => String(punch.punch_no)}
      cells={(punch) => [
        <Moment key="at" at={punch.at} />,
        punch.badge,
        attendance.direction(punch.direction),
        attendance.method(punch.method),
        String(punch.punch_no),
        <Moment key="received" at={punch.received_at} />,
      ]}
      empty={texts.noPunches}
    />
  );
}

function Audit({ deviceId }: { deviceId: string }) {
  const texts = useTexts().device;
  return (
    <PagedList
      query={useInfiniteQuery(auditQuery(deviceId))}
      heads={[texts.at, texts.actor, texts.action, texts.detail]}
      rowKey={(line) => String(line.number)}
      cells={(line) => [<Moment key="at" at={line.at} />, line.actor, line.action, <Said key="detail" text={line.detail} />]}
      empty={texts.noAudit}
    />
  );
}
