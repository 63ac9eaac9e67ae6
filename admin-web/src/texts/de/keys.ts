/** Texte der Server-Schlüssel, auf Deutsch. */

import type { Texts } from "../en";

const devices = (count: number, shown: string) => `${shown} ${count === 1 ? "aktives Gerät" : "aktive Geräte"}`;
const have = (count: number) => (count === 1 ? "hat" : "haben");

export const keys: Texts["keys"] = {
  title: "Server-Schlüssel",
  keyset: (version) => `Schlüsselsatz ${version}`,
  validUntil: "gültig bis",
  confirmed: (confirmed, active) => `${confirmed} von ${active}`,
  confirmedName: "Von aktiven Geräten bestätigt",
  wouldStrand: "Gingen bei einem Wechsel jetzt verloren",
  active: "in der letzten Woche gesehen",

  allKeys: "Schlüssel",
  key: "Schlüssel",
  state: "Zustand",
  announced: "Angekündigt",
  signingSince: "Signiert seit",
  removed: "Entfernt",
  noKeys: "Es gibt keine Schlüssel.",
  states: {
    ANNOUNCED: "angekündigt",
    SIGNING: "signiert",
    RETIRED: "abgelöst",
    FIRMWARE: "nur Firmware",
    REMOVED: "entfernt",
  },

  rotation: "Wechsel",
  rotationText: "Einmal im Jahr, und wenn jemand geht, der den Schlüssel lesen konnte. Kein Gerät muss angefasst werden, aber jeder Schritt wartet, bis die Geräte den Schlüsselsatz des vorigen kennen.",
  announce: "Nächsten Schlüssel ankündigen",
  announceText: "Der Server erzeugt einen Schlüssel und veröffentlicht ihn. Der alte signiert weiter; Geräte erfahren vom neuen mit ihrem nächsten Heartbeat.",
  announceAct: "Ankündigen",
  announceTitle: "Neuen Schlüssel ankündigen",
  announceHits: "Für Geräte ändert sich nichts: Sie vertrauen dem alten und dem neuen Schlüssel. Sichern Sie danach den Ordner server-keys des Servers: Dort liegt dann der private Teil des neuen Schlüssels.",
  activate: "Ihn aktivieren",
  activateText: "Von da an signiert der angekündigte Schlüssel. Geräte, die den Schlüsselsatz mit der Ankündigung nicht geholt haben, vertrauen keiner Antwort mehr: Sie sind verloren.",
  activateAct: "Aktivieren",
  activateTitle: (key) => `Mit ${key} signieren`,
  activateAfter: "Danach: Nennen Sie den neuen Schlüssel in den Einstellungen des Servers, geben Sie der Fertigung seinen öffentlichen Teil und starten Sie den Server neu.",
  retire: "Den alten ablösen",
  retireText: "Der Schlüsselsatz enthält den alten Schlüssel nicht mehr, und sein privater Teil wird auf dem Server gelöscht. Geräte, die den Schlüsselsatz nicht geholt haben, in dem der neue signiert, sind verloren.",
  retireAct: "Ablösen",
  retireTitle: (key) => `${key} ablösen`,
  retireAfter: "Releases, die der alte Schlüssel signiert hat, lassen sich nicht mehr installieren. Löschen Sie die Datei, die in den Einstellungen steht, falls sie noch dieser Schlüssel ist.",
  done: "erledigt",
  now: "jetzt",
  later: "später",
  wait: (stranded, shown, most) =>
    `Warten Sie: ${devices(stranded, shown)} ${have(stranded)} den neuesten Schlüsselsatz nicht bestätigt und ${stranded === 1 ? "ginge" : "gingen"} verloren. Der Server nimmt den Wechsel an, sobald es höchstens ${most} sind. Ein bis zwei Tage sind üblich.`,
  ready: "Alle aktiven Geräte haben den neuesten Schlüsselsatz bestätigt. Keines ginge verloren.",
  fewStranded: (stranded, shown) =>
    `${devices(stranded, shown)} ${have(stranded)} den neuesten Schlüsselsatz nicht bestätigt und ${stranded === 1 ? "ginge" : "gingen"} verloren. So wenige erlauben die Einstellungen.`,
  noActive: "In der letzten Woche wurde kein Gerät gesehen, also bestätigt keines. Geräte, die zurückkommen, folgen der Kette der Schlüsselsätze, wenn ihre Firmware das kann.",
  whoStranded: "Gingen verloren",
  andMore: (shown) => `und ${shown} weitere`,
  force: "Fortfahren und sie verlieren …",
  forceHits: (stranded, shown) =>
    `${devices(stranded, shown)} ${stranded === 1 ? "vertraut" : "vertrauen"} dann keiner Antwort dieses Servers mehr. Wessen Firmware der Kette der Schlüsselsätze folgt, findet von selbst zurück; andere müssen den Schlüssel noch einmal bekommen, wie in der Fertigung.`,
  hits: (active, shown) => `Das betrifft ${active === 1 ? "" : "alle "}${devices(active, shown)}.`,
  reload: "Die Schlüssel haben sich geändert, seit diese Seite gefragt hat. Schließen Sie das und sehen Sie noch einmal nach.",

  unknownTitle: "Schlüsselsatz eines anderen Servers",
  unknown: "Diese Geräte melden einen Schlüsselsatz, den dieser Server nie veröffentlicht hat. Entweder hat ihn jemand veröffentlicht, der einen Schlüssel des Servers hat, oder die Datenbank wurde aus einem älteren Stand wiederhergestellt. Untersuchen Sie jedes davon.",

  compromised: "Ein Schlüssel ist bekannt geworden",
  compromisedLink: "Ein Schlüssel ist bekannt geworden: widerrufen …",
  compromisedText: "Wer den privaten Teil eines Schlüssels hat, dem Geräte vertrauen, kann zu ihnen als dieser Server sprechen. Jede Stunde zählt: Der Widerruf wartet nicht auf Geräte.",
  toKeys: "Zurück zu den Schlüsseln",
  which: "1. Welcher Schlüssel ist bekannt geworden?",
  nothingToRevoke: "Es gibt keinen Schlüssel, der sich widerrufen lässt.",
  successor: "2. Für einen Nachfolger sorgen",
  successorNeeded: "Der Schlüssel, der signiert, lässt sich nicht widerrufen, bevor ein anderer angekündigt ist. Der signiert von da an, wie viele Geräte ihn dann auch kennen.",
  successorThere: (key) => `${key} ist angekündigt und signiert von da an.`,
  successorNotNeeded: "Dieser Schlüssel signiert nicht, also braucht er keinen Nachfolger.",
  successorMissing: "Liegt sein privater Teil an einem Ort ohne Netz, kopieren Sie ihn zuerst zurück in den Ordner server-keys des Servers; sonst lehnt der Server ab.",
  revoke: "3. Ihn widerrufen",
  revokeAct: "Schlüssel widerrufen",
  revokeTitle: (key) => `${key} widerrufen`,
  revokeButton: (key) => `${key} widerrufen …`,
  revokeHits: (stranded, shown) =>
    `Kein Gerät, das den nächsten Schlüsselsatz holt, vertraut diesem Schlüssel wieder. ${devices(stranded, shown)} ${have(stranded)} den neuesten Schlüsselsatz nicht bestätigt und ${stranded === 1 ? "geht" : "gehen"} vielleicht verloren. Das lässt sich nicht rückgängig machen.`,
  revokeSigning: "Es ist der Schlüssel, der signiert. Von diesem Augenblick an signiert der angekündigte.",
  revokeFirmware: "Er signiert Firmware. Releases, die er signiert hat, lassen sich nicht mehr installieren; veröffentlichen Sie zuerst seinen Nachfolger.",
  after: "4. Danach",
  afterSteps: [
    "Nennen Sie den neuen Schlüssel in den Einstellungen, starten Sie den Server neu und löschen Sie die alte Datei.",
    "Geben Sie der Fertigung den neuen öffentlichen Schlüssel und installieren Sie ihn auf Geräten im Lager.",
    "Sehen Sie hier nach, welche Geräte den Schlüsselsatz bestätigen und welche einen melden, den dieser Server nie veröffentlicht hat.",
    "Finden Sie heraus, wie er bekannt wurde. Widerrufen Sie alle Token, lassen Sie Benutzer neue Passwörter setzen und prüfen Sie das Audit gegen einen notierten Stand.",
  ],
  revoked: (key) => `${key} ist widerrufen.`,
};
