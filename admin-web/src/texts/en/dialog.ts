/** Texts of dialogs: saving, confirming, and what somebody else has changed meanwhile. */

export const dialog = {
  save: "Save",
  saving: "Saving…",
  cancel: "Cancel",
  working: "Working…",
  reason: "Reason",
  reasonHint: "it goes into the audit",
  typeToConfirm: (word: string) => `Type ${word} to confirm`,
  conflict: "Somebody else changed this meanwhile. Nothing was saved.",
  conflictTheirs: "It is now",
  conflictMine: "You typed",
  takeTheirs: "Take theirs",
  keepMine: "Keep mine",
  line: (line: string, field: string) => `Line ${line}, ${field}`,
  lineOnly: (line: string) => `Line ${line}`,
};
