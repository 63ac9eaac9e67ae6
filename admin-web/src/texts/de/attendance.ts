/** Texte der Zeiterfassung, auf Deutsch: Buchungen nach Standort und Tag. */

import type { Texts } from "../en";
import { words } from "./words";

export const attendance: Texts["attendance"] = {
  title: "Zeiterfassung",
  day: "Tag",
  dayBefore: "Tag davor",
  dayAfter: "Tag danach",
  zone: "Zeitzone des Tages",
  device: "Gerät",
  direction: words({ in: "Kommen", out: "Gehen", unknown: "unbekannt" }),
  method: words({ card: "Karte", pin: "PIN", fingerprint: "Fingerabdruck", face: "Gesicht", other: "anders" }),
  none: "An diesem Tag gibt es keine Buchungen.",
  loaded: (shown) => `${shown} Buchungen geladen`,
  punches: (count, shown) => `${shown} ${count === 1 ? "Buchung" : "Buchungen"}`,
  export: "Export",
  exportHint:
    "Jede Buchung dieses Tages, Standorts und Geräts. Ein Gerät, das offline war, sendet seine Buchungen später: exportieren Sie den Tag dann noch einmal.",
  format: "Format",
  formats: { plain: "CSV mit Kommas", spreadsheet: "CSV für Tabellenprogramme: Semikolons und eine Byte-Order-Marke" },
  download: "CSV herunterladen",
};
