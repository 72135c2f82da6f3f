/**
 * As Promise.all, but not before each has ended: whoever cleans up after a failure finds none of them still at work. For
 * commands that do not depend on each other; starting a process is most of what a small one takes.
 */
export async function sideBySide<T extends readonly unknown[]>(...work: { readonly [K in keyof T]: Promise<T[K]> }): Promise<T> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

/** Does the same for each item, so many at a time; gives the results in the order of the items. */
export async function inGroups<T, R>(size: number, items: readonly T[], act: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let start = 0; start < items.length; start += size) results.push(...(await sideBySide(...items.slice(start, start + size).map(act))));
  return results;
}
