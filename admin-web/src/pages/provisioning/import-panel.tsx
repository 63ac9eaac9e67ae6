/** Importing an inventory: a preview of what is in the file and what is wrong with it, and then the import. */

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { answer, api } from "../../api/client";
import { ApiProblem, type FieldError } from "../../api/problem";
import type { ImportResult } from "../../api/types";
import { FileField } from "../../components/fields";
import { List } from "../../components/list";
import { problemText } from "../../components/states";
import { count, quantity } from "../../format/number";
import type { Texts } from "../../texts/en";
import { useLanguage } from "../../texts/language";
import { COLUMNS, type Fault, FAULTS_MAX, type Inventory, PREVIEW_BYTES_MAX, readInventory } from "./inventory";

/** Faults and rows that are shown; more help nobody. */
const FAULTS_SHOWN = 100;
const ROWS_SHOWN = 5;

interface Chosen {
  readonly file: File;
  /** None of a file that is too large to be read here. */
  readonly inventory: Inventory | undefined;
}

/** What is wrong with a line, in words. */
export function faultText({ why, about }: Fault, texts: Texts): string {
  const say: (...about: string[]) => string = texts.provisioning.why[why];
  return say(...about);
}

export function ImportPanel() {
  const { texts: all, locale } = useLanguage();
  const texts = all.provisioning;
  const queryClient = useQueryClient();
  const read = useMutation({
    mutationFn: async (file: File): Promise<Chosen> => {
      if (file.size > PREVIEW_BYTES_MAX) return { file, inventory: undefined };
      return { file, inventory: readInventory(new Uint8Array(await file.arrayBuffer())) };
    },
  });
  const send = useMutation({
    mutationFn: (file: File) =>
      answer(
        api.POST("/api/devices/import", {
          body: file as unknown as string,
          bodySerializer: (body) => body,
          headers: { "Content-Type": "text/csv" },
        }),
      ),
    onSuccess: () => {
      for (const key of ["devices", "device", "presence"]) void queryClient.invalidateQueries({ queryKey: [key] });
    },
  });
  const [attempt, setAttempt] = useState(0);
  const again = () => {
    read.reset();
    send.reset();
    setAttempt(attempt + 1);
  };

  return (
    <section className="panel" aria-labelledby="import">
      <h2 id="import">{texts.importTitle}</h2>
      <p className="soft">{texts.importText}</p>
      {send.data ? (
        <Done result={send.data} again={again} />
      ) : (
        <>
          <FileField
            key={attempt}
            name={texts.file}
            hint={texts.fileHint}
            accept=".csv,.tsv,.txt,text/csv,text/plain"
            onFile={(file) => {
              read.reset();
              send.reset();
              if (file) read.mutate(file);
            }}
          />
          {!read.data && (
            <p className="soft">
              {texts.columns} <code>{COLUMNS.join(", ")}</code>
            </p>
          )}
          <div role="status" className="quiet">
            {read.isPending && <p className="waiting">{texts.reading}</p>}
            {read.error && <p className="notice bad">{texts.unreadable}</p>}
            {read.data && <Verdict {...read.data} locale={locale} />}
          </div>
          {read.data?.inventory && <Preview inventory={read.data.inventory} />}
          <div role="alert" className="quiet">
            {send.error && <Refused error={send.error} />}
          </div>
          {read.data && (read.data.inventory?.faults.length ?? 0) === 0 && (
            <div>
              <button
                type="button"
                className="primary"
                aria-disabled={send.isPending}
                onClick={() => !send.isPending && send.mutate(read.data.file)}
              >
                {send.isPending ? texts.importing : importText(read.data.inventory, texts, locale)}
              </button>
            </div>
          )}
        </>
      )}
    </section>
  );
}

function importText(inventory: Inventory | undefined, texts: Texts["provisioning"], locale: string): string {
  if (!inventory) return texts.importUnseen;
  return texts.importNow(inventory.devices.length, count(inventory.devices.length, locale));
}

/** Whether the file can be imported. */
function Verdict({ file, inventory, locale }: Chosen & { locale: string }) {
  const { provisioning: texts } = useLanguage().texts;
  if (!inventory) return <p className="notice warn">{texts.tooLarge(quantity(file.size / 1024 / 1024, "MiB", locale))}</p>;
  const found = inventory.faults.length;
  if (found >= FAULTS_MAX) return <p className="notice bad">{texts.faultsOrMore(count(found, locale))}</p>;
  if (found > 0) return <p className="notice bad">{texts.faults(found, count(found, locale))}</p>;
  return <p className="notice good">{texts.right(inventory.devices.length, count(inventory.devices.length, locale))}</p>;
}

function Preview({ inventory: { devices, faults, warnings } }: { inventory: Inventory }) {
  const { texts: all, locale } = useLanguage();
  const texts = all.provisioning;
  const said = (found: readonly Fault[]) => found.map((fault) => ({ line: fault.line, field: fault.field, what: faultText(fault, all) }));
  return (
    <>
      {faults.length > 0 && <Faults faults={said(faults)} />}
      {warnings.length > 0 && (
        <>
          <p className="notice warn">{texts.warnings(warnings.length, count(warnings.length, locale))}</p>
          <Faults faults={said(warnings)} />
        </>
      )}
      {faults.length === 0 && (
        <>
          <h3>{texts.preview}</h3>
          <List
            heads={[texts.line, texts.deviceId, texts.serial, texts.manufacturer, texts.model, texts.site, texts.publicKey]}
            rows={devices.slice(0, ROWS_SHOWN)}
            rowKey={(device) => String(device.line)}
            cells={(device) => [
              String(device.line),
              device.device_id,
              device.serial,
              device.manufacturer,
              device.model,
              device.site,
              <code key="key">{device.public_key}</code>,
            ]}
            empty=""
          />
        </>
      )}
    </>
  );
}

function Faults({ faults }: { faults: readonly FieldError[] }) {
  const { texts: all, locale } = useLanguage();
  const texts = all.provisioning;
  return (
    <>
      <List
        heads={[texts.line, texts.field, texts.what]}
        rows={faults.slice(0, FAULTS_SHOWN)}
        rowKey={({ line, field, what }) => `${line} ${field} ${what}`}
        cells={({ line, field, what }) => [String(line), field, what]}
        empty=""
      />
      {faults.length > FAULTS_SHOWN && <p className="soft">{texts.notShown(count(faults.length - FAULTS_SHOWN, locale))}</p>}
    </>
  );
}

/** The server's own faults, by line, such as a device that is stored with another key. */
function Refused({ error }: { error: unknown }) {
  const texts = useLanguage().texts;
  const faults = error instanceof ApiProblem ? error.errors : [];
  return (
    <>
      <p className="notice bad">
        {faults.length > 0 && `${texts.provisioning.serverFaults} `}
        {problemText(error, texts)}
      </p>
      {faults.length > 0 && <Faults faults={faults} />}
    </>
  );
}

function Done({ result, again }: { result: ImportResult; again: () => void }) {
  const { texts: all, locale } = useLanguage();
  const texts = all.provisioning;
  const said = [texts.imported(result.added, count(result.added, locale))];
  if (result.unchanged > 0) said.push(texts.unchanged(result.unchanged, count(result.unchanged, locale)));
  if (result.revoked > 0) said.push(texts.stillRevoked(result.revoked, count(result.revoked, locale)));
  return (
    <>
      <div role="status" className="notice good">
        {said.map((sentence) => (
          <p key={sentence}>{sentence}</p>
        ))}
      </div>
      {result.warnings && result.warnings.length > 0 && <Faults faults={result.warnings} />}
      <div className="row">
        <button type="button" autoFocus onClick={again}>
          {texts.another}
        </button>
        <Link to="/devices">{texts.toDevices}</Link>
      </div>
    </>
  );
}
