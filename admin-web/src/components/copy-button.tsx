/** Copies a text, and says whether that has worked: without HTTPS browsers do not allow it. */

import { useState } from "react";

import { useTexts } from "../texts/language";

export function CopyButton({ text, name }: { text: string; name?: string }) {
  const texts = useTexts().copy;
  // What was copied: another text has not been yet.
  const [copied, setCopied] = useState<{ readonly text: string; readonly isDone: boolean }>();
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied({ text, isDone: true });
    } catch {
      setCopied({ text, isDone: false });
    }
  };
  const said = copied?.text === text ? (copied.isDone ? texts.done : texts.refused) : "";
  return (
    <>
      <button type="button" onClick={() => void copy()}>
        {name ?? texts.act}
      </button>
      <span role="status">{said}</span>
    </>
  );
}
