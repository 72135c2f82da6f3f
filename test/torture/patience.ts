/** Longer than any wait of a host's for another, and than all its retries that come soon. */
const PATIENCE_MS = 90_000;

/** Throws what took too long. */
export async function within<T>(promise: Promise<T>, what: string, milliseconds = PATIENCE_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([
      promise,
      new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`${what} took longer than ${milliseconds / 1000} s`)), milliseconds);
      }),
    ]);
  } finally {
    clearTimeout(timer);
  }
}
