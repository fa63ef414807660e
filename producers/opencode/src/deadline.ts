/** Waiting, but not for ever. */

/** What was waited for took too long. */
export class Late extends Error {
  constructor(ms: number) {
    super(`no answer within ${Math.round(ms)} ms`);
    this.name = "Late";
  }
}

/** The promise's value. Throws `Late` if it takes longer; the promise itself goes on, and its end is of no interest. */
export async function within<Value>(ms: number, promise: Promise<Value>): Promise<Value> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      // OpenCode's thread may have been busy: an answer that lies ready is still taken.
      setImmediate(() => {
        setImmediate(() => {
          reject(new Late(ms));
        });
      });
    }, ms);
  });
  // Whoever loses the race must not become an unhandled rejection.
  promise.catch(() => undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Wait. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
