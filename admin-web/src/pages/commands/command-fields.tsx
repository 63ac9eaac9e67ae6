/** The fields of a command: its kind, and what that kind needs. */

import type { LogLevel } from "../../api/types";
import { AreaField, ChoiceField, TextField } from "../../components/fields";
import { useTexts } from "../../texts/language";
import { KINDS, type TypedCommand } from "./typed-command";

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

interface CommandFieldsProps {
  readonly typed: TypedCommand;
  readonly onChange: (typed: TypedCommand) => void;
}

export function CommandFields({ typed, onChange }: CommandFieldsProps) {
  const { commands: texts, device: words } = useTexts();
  const change = (field: keyof TypedCommand) => (value: string) => onChange({ ...typed, [field]: value });
  return (
    <>
      <ChoiceField
        name={texts.kind}
        hint={texts.effect[typed.kind]}
        value={typed.kind}
        options={KINDS.map((kind) => [kind, texts.kinds[kind]] as const)}
        onChoose={change("kind")}
      />
      {typed.kind === "fetch_logs" && (
        <div className="fields">
          <ChoiceField
            name={words.level}
            value={typed.level}
            options={LEVELS.map((level) => [level, level === "debug" ? words.anyLevel : words.levelAndWorse(level)] as const)}
            onChoose={change("level")}
          />
          <TextField name={texts.linesMax} hint={texts.linesMaxHint} inputMode="numeric" value={typed.linesMax} onType={change("linesMax")} />
        </div>
      )}
      {typed.kind === "set_config" && (
        <div className="fields">
          <TextField name={texts.setting} required maxLength={64} value={typed.name} onType={change("name")} />
          <TextField name={texts.value} maxLength={256} value={typed.value} onType={change("value")} />
        </div>
      )}
      {typed.kind === "add_key" && (
        <TextField name={texts.keysetVersion} required inputMode="numeric" value={typed.keysetVersion} onType={change("keysetVersion")} />
      )}
      {typed.kind === "halt_updates" && (
        <TextField name={texts.release} hint={texts.releaseHint} maxLength={64} value={typed.releaseId} onType={change("releaseId")} />
      )}
      {typed.kind === "custom" && (
        <>
          <TextField
            name={texts.customKind}
            hint={texts.customKindHint}
            required
            maxLength={32}
            autoCapitalize="none"
            spellCheck={false}
            value={typed.customKind}
            onType={change("customKind")}
          />
          <AreaField name={words.argument} maxLength={1_024} spellCheck={false} value={typed.argument} onType={change("argument")} />
        </>
      )}
    </>
  );
}
