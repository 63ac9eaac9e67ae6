/** The fields of a selection of devices, with the names that the fleet has. */

import { useQuery } from "@tanstack/react-query";

import { presenceQuery } from "../../api/queries";
import { useTexts } from "../../texts/language";
import { AreaField, ChoiceField, TextField } from "../fields";
import { namesOf } from "../filters";
import type { Selection } from "./selection";

interface SelectionFieldsProps {
  readonly selection: Selection;
  readonly onChange: (selection: Selection) => void;
}

export function SelectionFields({ selection, onChange }: SelectionFieldsProps) {
  const texts = useTexts();
  const { data: fleet } = useQuery({ ...presenceQuery, refetchInterval: false });
  const choice = (field: "site" | "model" | "firmware_version", name: string, byName: object | undefined) => {
    const names = new Set(namesOf(byName));
    if (selection[field] !== "") names.add(selection[field]);
    const options = [["", texts.selection.any] as const, ...[...names].sort().map((name) => [name, name] as const)];
    return (
      <ChoiceField
        name={name}
        value={selection[field]}
        options={options}
        onChoose={(value) => onChange({ ...selection, [field]: value })}
      />
    );
  };
  return (
    <fieldset className="fieldset">
      <legend>{texts.selection.title}</legend>
      <p className="soft">{texts.selection.hint}</p>
      <div className="fields">
        {choice("site", texts.devices.site, fleet?.sites)}
        {choice("model", texts.devices.model, fleet?.models)}
        {choice("firmware_version", texts.devices.firmware, fleet?.firmware)}
        <TextField
          name={texts.devices.label}
          value={selection.label}
          maxLength={128}
          autoComplete="off"
          onType={(label) => onChange({ ...selection, label })}
        />
      </div>
      <AreaField
        name={texts.selection.ids}
        hint={texts.selection.idsHint}
        rows={2}
        spellCheck={false}
        autoCapitalize="none"
        value={selection.device_ids}
        onType={(device_ids) => onChange({ ...selection, device_ids })}
      />
    </fieldset>
  );
}
