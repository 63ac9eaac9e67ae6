/** A password that an admin sets for somebody: typed once, and shown on demand. */

import { useState } from "react";

import { CheckField, TextField } from "../../components/fields";
import { useTexts } from "../../texts/language";

export const PASSWORD_CHARS_MIN = 12;

interface NewPasswordProps {
  readonly name: string;
  readonly value: string;
  readonly onType: (typed: string) => void;
  readonly autoFocus?: boolean;
}

export function NewPassword({ name, value, onType, autoFocus = false }: NewPasswordProps) {
  const texts = useTexts().accounts;
  const [isShown, setShown] = useState(false);
  return (
    <>
      <TextField
        name={name}
        hint={texts.passwordHint}
        type={isShown ? "text" : "password"}
        autoComplete="new-password"
        autoCapitalize="none"
        spellCheck={false}
        required
        minLength={PASSWORD_CHARS_MIN}
        maxLength={256}
        autoFocus={autoFocus}
        value={value}
        onType={onType}
      />
      <CheckField name={texts.showPassword} isChecked={isShown} onCheck={setShown} />
    </>
  );
}
