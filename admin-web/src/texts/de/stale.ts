/** Texte eines Tabs, der nicht mehr auf dem neuesten Stand ist, auf Deutsch. */

import type { Texts } from "../en";

export const stale: Texts["stale"] = {
  updated: "Der Server wurde aktualisiert, seit diese Seite offen ist. Speichern Sie Ihre Eingaben und laden Sie die Seite dann neu.",
  other: (name) => `In einem anderen Tab hat sich ${name} angemeldet. Was Sie hier tun, geschieht als ${name}: Laden Sie diese Seite neu.`,
  reload: "Neu laden",
};
