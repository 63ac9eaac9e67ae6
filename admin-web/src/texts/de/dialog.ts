/** Texte der Dialoge, auf Deutsch. */

import type { Texts } from "../en";

export const dialog: Texts["dialog"] = {
  save: "Speichern",
  saving: "Wird gespeichert …",
  cancel: "Abbrechen",
  working: "Wird ausgeführt …",
  reason: "Grund",
  reasonHint: "er steht danach im Audit",
  typeToConfirm: (word) => `Geben Sie zur Bestätigung ${word} ein`,
  conflict: "Jemand anderes hat das inzwischen geändert. Es wurde nichts gespeichert.",
  conflictTheirs: "Jetzt gilt",
  conflictMine: "Ihre Eingabe",
  takeTheirs: "Deren Stand übernehmen",
  keepMine: "Meine behalten",
  line: (line, field) => `Zeile ${line}, ${field}`,
  lineOnly: (line) => `Zeile ${line}`,
};
