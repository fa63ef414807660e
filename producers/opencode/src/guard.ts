/**
 * Every hook goes through here: whatever happens in it, OpenCode goes on. A hook that throws would fail the user's
 * request or a tool that had done its work; one that throws at once in `event` would hang `opencode run`.
 */

import { within } from "./deadline.ts";
import type { Log } from "./log.ts";
import type { Timings } from "./timings.ts";

/** How often an error of the same hook is logged, ms. */
const LOGGED_MS = 60_000;

export class Guard {
  readonly #log: Log;
  readonly #timings: Timings;
  readonly #logged = new Map<string, number>();

  constructor(log: Log, timings: Timings) {
    this.#log = log;
    this.#timings = timings;
  }

  /** The hook, unable to fail, and to take longer than `ms`. */
  hook<Parameters extends unknown[]>(
    name: string,
    ms: number,
    hook: (...parameters: Parameters) => Promise<void> | void,
  ): (...parameters: Parameters) => Promise<void> {
    return async (...parameters) => {
      const began = performance.now();
      try {
        // Nothing waits that need not: a timer costs more than most hooks.
        const going = hook(...parameters);
        if (going) await within(ms, going);
      } catch (error) {
        this.failed(name, error);
      } finally {
        this.#timings.note({ hook: name }, performance.now() - began);
        if (name === "dispose") this.#timings.write();
      }
    };
  }

  /** Log what went wrong, but not again and again. */
  failed(name: string, error: unknown): void {
    const last = this.#logged.get(name) ?? -Infinity;
    if (performance.now() - last < LOGGED_MS) return;
    this.#logged.set(name, performance.now());
    this.#log.error(name, error);
  }
}
