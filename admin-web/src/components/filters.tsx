/** Fields of a filter over a list; each change is a new address, so that a filter can be sent to somebody. */

import { type ReactNode, useId } from "react";

import { useTexts } from "../texts/language";
import { usePausedText } from "./paused-text";

interface FilterProps {
  readonly name: string;
  readonly value: string | undefined;
  readonly onChange: (value: string) => void;
}

export function ChosenFilter({ name, value, onChange, children }: FilterProps & { children: ReactNode }) {
  const texts = useTexts();
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{name}</label>
      <select id={id} value={value ?? ""} onChange={(event) => onChange(event.target.value)}>
        <option value="">{texts.all}</option>
        {children}
      </select>
    </div>
  );
}

/** One of the names in the fleet; typed where they are not known. */
export function NamedFilter({ names, ...filter }: FilterProps & { names: readonly string[] }) {
  if (names.length === 0) return <TypedFilter {...filter} />;
  const all = filter.value === undefined || names.includes(filter.value) ? names : [filter.value, ...names];
  return (
    <ChosenFilter {...filter}>
      {all.map((name) => (
        <option key={name} value={name}>
          {name}
        </option>
      ))}
    </ChosenFilter>
  );
}

interface TypedFilterProps extends FilterProps {
  readonly hint?: string;
  readonly className?: string;
}

export function TypedFilter({ name, value = "", onChange, hint, className = "" }: TypedFilterProps) {
  const id = useId();
  const [typed, setTyped] = usePausedText(value, onChange);
  return (
    <div className={`field ${className}`}>
      <label htmlFor={id}>{name}</label>
      <input id={id} type="search" placeholder={hint} value={typed} onChange={(event) => setTyped(event.target.value)} />
    </div>
  );
}

/** The names of what the fleet is counted by. */
export function namesOf(byName: object | undefined): string[] {
  return Object.keys(byName ?? {}).filter((name) => name !== "");
}
