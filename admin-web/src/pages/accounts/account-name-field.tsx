/** The name of a user or a token, with the characters that the API takes. */

import { TextField } from "../../components/fields";
import { useTexts } from "../../texts/language";

export function AccountNameField({ name, onType }: { name: string; onType: (name: string) => void }) {
  const texts = useTexts().accounts;
  return (
    <TextField
      name={texts.name}
      hint={texts.nameHint}
      autoFocus
      required
      // Not "username": a password manager would fill in the admin's own.
      autoComplete="off"
      autoCapitalize="none"
      spellCheck={false}
      pattern="[A-Za-z0-9._@\-]{1,64}"
      maxLength={64}
      value={name}
      onType={onType}
    />
  );
}
