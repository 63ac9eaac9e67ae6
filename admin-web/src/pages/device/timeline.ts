/** When a device was heard and when it was silent, from its heartbeats. */

export interface Span {
  /** Milliseconds since 1970. */
  readonly from: number;
  readonly to: number;
  readonly isHeard: boolean;
}

/**
 * The spans between the oldest of these moments and now. Two heartbeats with more than two intervals between them have silence in
 * between, of which the first two intervals are still the device's own time.
 */
export function timeline(heardAt: readonly number[], now: number, intervalMs: number): Span[] {
  const late = 2 * intervalMs;
  const spans: Span[] = [];
  const add = (from: number, to: number, isHeard: boolean) => {
    const last = spans.at(-1);
    if (to <= from) return;
    if (last && last.isHeard === isHeard) spans[spans.length - 1] = { ...last, to };
    else spans.push({ from, to, isHeard });
  };
  const sorted = [...heardAt].sort((one, other) => one - other);
  sorted.forEach((at, index) => {
    const next = sorted[index + 1] ?? Math.max(now, at);
    const heardUntil = next - at > late ? at + late : next;
    add(at, heardUntil, true);
    add(heardUntil, next, false);
  });
  return spans;
}
