/** Texts of attendance: punches by site and day. */

const plural = new Intl.PluralRules("en");

export const attendance = {
  title: "Attendance",
  day: "Day",
  dayBefore: "Day before",
  dayAfter: "Day after",
  zone: "Time zone of the day",
  device: "Device",
  /** What a punch says, in the protocol's words. */
  direction: (direction: string) => direction,
  method: (method: string) => method,
  none: "There are no punches on this day.",
  loaded: (shown: string) => `${shown} punches loaded`,
  punches: (count: number, shown: string) => `${shown} ${plural.select(count) === "one" ? "punch" : "punches"}`,
  export: "Export",
  exportHint: "Every punch of this day, site and device. A device that was offline sends its punches later: export the day again then.",
  format: "Format",
  formats: { plain: "CSV with commas", spreadsheet: "CSV for spreadsheets: semicolons and a byte-order mark" },
  download: "Download the CSV",
};
