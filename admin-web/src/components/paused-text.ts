/** A text that is used once its typing has paused. */

import { useEffect, useState } from "react";

/** How long after the last key a typed text is used. */
export const PAUSE_MS = 300;

/** What is typed now, which differs from `value` until the pause; and what takes the next key. */
export function usePausedText(value: string, onChange: (value: string) => void): [string, (typed: string) => void] {
  const [typed, setTyped] = useState(value);
  const [known, setKnown] = useState(value);
  // Another address, such as after "back": what it says counts.
  if (value !== known) {
    setKnown(value);
    setTyped(value);
  }
  useEffect(() => {
    if (typed === value) return;
    const timer = window.setTimeout(() => onChange(typed), PAUSE_MS);
    return () => window.clearTimeout(timer);
  });
  return [typed, setTyped];
}
