/** Texte der Untersuchung eines stillen Geräts, auf Deutsch. */

import type { Texts } from "../en";

export const investigate: Texts["investigate"] = {
  title: (device) => `${device} untersuchen`,
  link: "Untersuchen",
  toDevice: "Zum Gerät",
  heard: "Letzter Heartbeat",
  late: "Überfällig seit",
  notLate: "nicht überfällig",
  silence: "Still, während ein Server zuhörte",
  network: "Netz und Zustand",
  networkHint: "Stand des letzten Heartbeats",
  site: "Sein Standort",
  missingAtSite: "Vermisst am Standort",
  siteVerdict: {
    site: "Die meisten Geräte des Standorts werden vermisst. Prüfen Sie zuerst Netz und Strom des Standorts.",
    some: "Einige Geräte des Standorts werden vermisst. Sehen Sie nach, was sie gemeinsam haben: einen Switch, einen Access Point, einen Stromkreis.",
    alone: "Sein Standort ist da. Sehen Sie nach dem Gerät selbst: Strom, Kabel, Leser.",
    only: "Es ist das einzige registrierte Gerät seines Standorts: ob es am Standort liegt, ist von hier aus nicht zu erkennen.",
  },
  seeSite: "Vermisste Geräte dieses Standorts",
  firmwareNew:
    "Es bekam in den drei Tagen, bevor es zuletzt gehört wurde, neue Firmware. Sehen Sie nach, ob andere Geräte dieses Rollouts auch still sind.",
  logs: "Protokollzeilen, die neuesten zuerst",
  fetch: "Protokoll jetzt holen",
  fetchHint: (time) => `Es bekommt den Befehl innerhalb von ${time} mit dem nächsten Heartbeat.`,
  fetchWaits: "Es wartet schon ein Befehl auf das Gerät.",
  steps: {
    ordered: "Angeordnet",
    delivered: "An das Gerät gesendet",
    toDeliver: "Wartet auf den nächsten Heartbeat",
    received: "Das Gerät hat ihn",
    toReceive: "Das Gerät muss ihn bestätigen",
    toAnswer: "Das Gerät muss antworten",
    lines: (count, shown) => `${shown} ${count === 1 ? "Zeile" : "Zeilen"} seitdem.`,
  },
  waiting: "Wartende Befehle",
  escalate: "Weitergeben",
  escalateHint: "Alles, was bekannt ist, als Text für den, der damit weitermacht. Ergänzen Sie, was Sie getan haben.",
  write: "Notiz schreiben",
  writeAgain: "Neu schreiben",
  note: "Notiz",
  copy: "Notiz kopieren",
  newestKeyset: (version) => `der neueste ist ${version}`,
  doNotRevoke: "Sperren Sie kein Gerät, weil es still ist: es käme nur mit einem neuen Schlüssel zurück.",
};
