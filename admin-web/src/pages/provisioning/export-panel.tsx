/** Exporting the inventory: the browser loads the file, as large as it may be. */

import { useState } from "react";

import { API_BASE_URL } from "../../api/client";
import type { DeviceStatus } from "../../api/types";
import { writeQuery } from "../../app/address";
import { CheckField, ChoiceField, TextField } from "../../components/fields";
import { useTexts } from "../../texts/language";
import { STATUSES } from "../devices/filter";

const SEPARATORS = ["comma", "semicolon", "tab"] as const;

export function ExportPanel() {
  const all = useTexts();
  const texts = all.provisioning;
  const [model, setModel] = useState("");
  const [site, setSite] = useState("");
  const [status, setStatus] = useState<DeviceStatus | "">("");
  const [separator, setSeparator] = useState<(typeof SEPARATORS)[number]>("comma");
  const [isMarked, setMarked] = useState(true);
  const query = writeQuery({ model: model.trim(), site: site.trim(), status, separator, bom: isMarked });
  return (
    <section className="panel" aria-labelledby="export">
      <h2 id="export">{texts.exportTitle}</h2>
      <p className="soft">{texts.exportText}</p>
      <div className="filters even">
        <TextField name={texts.model} hint={texts.optional} maxLength={128} autoComplete="off" value={model} onType={setModel} />
        <TextField name={texts.site} hint={texts.optional} maxLength={128} autoComplete="off" value={site} onType={setSite} />
        <ChoiceField
          name={texts.status}
          value={status}
          options={[["", all.all], ...STATUSES.map((status) => [status, all.status[status]] as const)]}
          onChoose={setStatus}
        />
        <ChoiceField
          name={texts.separator}
          value={separator}
          options={SEPARATORS.map((name) => [name, texts.separators[name]] as const)}
          onChoose={setSeparator}
        />
      </div>
      <CheckField name={texts.forSpreadsheets} isChecked={isMarked} onCheck={setMarked} />
      <div>
        <a className="button" href={`${API_BASE_URL}/api/devices/export${query}`} download="inventory.csv">
          {texts.download}
        </a>
      </div>
    </section>
  );
}
