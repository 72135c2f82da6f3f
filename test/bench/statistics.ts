/** Median of a list; of an even number, the mean of the middle two. Throws RangeError for an empty one. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  if (upper === undefined || lower === undefined) throw new RangeError('Nothing has no median.');
  return (lower + upper) / 2;
}

/** Median, least and most: all that a few runs can say. */
export interface Summary {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/** Throws RangeError for an empty list. */
export function summarise(values: readonly number[]): Summary {
  return { median: median(values), least: Math.min(...values), most: Math.max(...values) };
}

/** Wall-clock milliseconds that something takes, with what it gives. */
export async function timed<T>(act: () => Promise<T>): Promise<{ readonly milliseconds: number; readonly value: T }> {
  const begun = performance.now();
  const value = await act();
  return { milliseconds: performance.now() - begun, value };
}
