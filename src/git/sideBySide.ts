/**
 * As Promise.all, but not before each has ended: whoever cleans up after a failure finds none of them still at work. For
 * commands that do not depend on each other; starting a process is most of what a small one takes.
 */
export async function sideBySide<T extends readonly unknown[]>(...work: { readonly [K in keyof T]: Promise<T[K]> }): Promise<T> {
  await Promise.allSettled(work);
  return Promise.all(work);
}
