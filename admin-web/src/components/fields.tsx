/** Fields of forms: a label, the native element, and a hint that is read with it. */

import { type InputHTMLAttributes, type ReactNode, type TextareaHTMLAttributes, useId } from "react";

interface FieldProps {
  readonly name: string;
  readonly hint?: ReactNode;
  readonly className?: string;
  /** The element, which gets this id and is described by the hint. */
  readonly children: (element: { readonly id: string; readonly "aria-describedby"?: string }) => ReactNode;
}

export function Field({ name, hint, className = "", children }: FieldProps) {
  const ids = { element: useId(), hint: useId() };
  return (
    <div className={`field ${className}`}>
      <label htmlFor={ids.element}>{name}</label>
      {children(hint ? { id: ids.element, "aria-describedby": ids.hint } : { id: ids.element })}
      {hint && (
        <span id={ids.hint} className="label">
          {hint}
        </span>
      )}
    </div>
  );
}

interface Typed {
  readonly name: string;
  readonly hint?: ReactNode;
  readonly value: string;
  readonly onType: (typed: string) => void;
}

type Input = Omit<InputHTMLAttributes<HTMLInputElement>, "name" | "value" | "onChange">;

export function TextField({ name, hint, value, onType, ...input }: Typed & Input) {
  return (
    <Field name={name} hint={hint}>
      {(element) => <input {...element} {...input} value={value} onChange={(event) => onType(event.target.value)} />}
    </Field>
  );
}

type Area = Omit<TextareaHTMLAttributes<HTMLTextAreaElement>, "name" | "value" | "onChange">;

export function AreaField({ name, hint, value, onType, ...area }: Typed & Area) {
  return (
    <Field name={name} hint={hint}>
      {(element) => <textarea rows={4} {...element} {...area} value={value} onChange={(event) => onType(event.target.value)} />}
    </Field>
  );
}

interface ChoiceProps<Value extends string> {
  readonly name: string;
  readonly hint?: ReactNode;
  readonly value: Value;
  /** Each value with its text. */
  readonly options: readonly (readonly [Value, string])[];
  readonly onChoose: (value: Value) => void;
}

export function ChoiceField<Value extends string>({ name, hint, value, options, onChoose }: ChoiceProps<Value>) {
  // A select that lacks its value shows another one, while this one is sent.
  const isOffered = options.some(([option]) => option === value);
  return (
    <Field name={name} hint={hint}>
      {(element) => (
        <select {...element} value={value} onChange={(event) => onChoose(event.target.value as Value)}>
          {!isOffered && <option value={value}>{value}</option>}
          {options.map(([option, text]) => (
            <option key={option} value={option}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

/** Longest reason of an action, as the API has it. */
const REASON_CHARS_MAX = 500;

/** Why something is done, for the audit. */
export function ReasonField(field: Typed & Pick<Input, "required" | "autoFocus">) {
  return <TextField {...field} autoComplete="off" maxLength={REASON_CHARS_MAX} />;
}

interface CheckProps {
  readonly name: ReactNode;
  readonly isChecked: boolean;
  readonly onCheck: (isChecked: boolean) => void;
}

export function CheckField({ name, isChecked, onCheck }: CheckProps) {
  return (
    <label className="check">
      <input type="checkbox" checked={isChecked} onChange={(event) => onCheck(event.target.checked)} />
      <span>{name}</span>
    </label>
  );
}

interface FileProps {
  readonly name: string;
  readonly hint?: ReactNode;
  /** Endings and media types, as browsers know them. */
  readonly accept?: string;
  readonly onFile: (file: File | undefined) => void;
}

export function FileField({ name, hint, accept, onFile }: FileProps) {
  return (
    <Field name={name} hint={hint}>
      {(element) => (
        <input {...element} type="file" accept={accept} onChange={(event) => onFile(event.target.files?.[0])} />
      )}
    </Field>
  );
}
