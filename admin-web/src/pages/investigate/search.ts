/** The order of log lines that is followed, as it stands in the address: a reload goes on with it. */

export function readInvestigate(search: Record<string, unknown>): { order?: string } {
  const { order } = search;
  return typeof order === "string" && /^[A-Za-z][A-Za-z0-9._-]{0,63}$/.test(order) ? { order } : {};
}
