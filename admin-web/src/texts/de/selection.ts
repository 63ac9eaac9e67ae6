/** Texte der Auswahl von Geräten und dessen, was sie trifft, auf Deutsch. */

import type { Texts } from "../en";

export const selection: Texts["selection"] = {
  title: "Welche Geräte",
  hint: "Ein Gerät muss zu allem passen, was hier angegeben ist.",
  any: "alle",
  ids: "Kennungen",
  idsHint: "durch Leerzeichen, Kommas oder Zeilen getrennt",
  reach: "Was es trifft",
  nobody: "Es ist noch nichts ausgewählt.",
  online: "Online",
  silent: "Nicht online",
  notSelected: (left, named) => `${left} von ${named} genannten Geräten sind unbekannt oder passen nicht:`,
  changed: (now) => `Die Auswahl hat sich inzwischen geändert: sie trifft jetzt ${now}. Es wurde nichts ausgeführt. Schließen Sie das und sehen Sie noch einmal nach.`,
};
