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

/** Heartbeats in the order of their times, with a moment without one wherever there was silence: a plot has no line there. */
export function withSilences<Beat>(
  ascending: readonly Beat[],
  heardAt: (beat: Beat) => number,
  intervalMs: number,
): { readonly at: number; readonly beat: Beat | null }[] {
  return ascending.flatMap((beat, index) => {
    const at = heardAt(beat);
    const before = ascending[index - 1];
    const isAfterSilence = before !== undefined && at - heardAt(before) > 2 * intervalMs;
    return isAfterSilence ? [{ at: heardAt(before) + intervalMs, beat: null }, { at, beat }] : [{ at, beat }];
  });
}
