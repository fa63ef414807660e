/**
 * Every hook goes through here: whatever happens in it, OpenCode goes on. A hook that throws would fail the user's
 * request or a tool that had done its work; one that throws at once in `event` would hang `opencode run`.
 */

import { appendFileSync } from "node:fs";

import { within } from "./deadline.ts";
import type { Log } from "./log.ts";

/** How often an error of the same hook is logged, ms. */
const LOGGED_MS = 60_000;
/** Measured hooks that are gathered before they are written. */
const GATHERED = 200;

export class Guard {
  readonly #log: Log;
  readonly #timings: string | undefined;
  readonly #logged = new Map<string, number>();
  #measured: string[] = [];

  /** @param timings file that the duration of each hook is appended to, for measurements */
  constructor(log: Log, timings: string | undefined) {
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
        if (this.#timings) this.#note(name, performance.now() - began);
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

  /** Write what was measured. */
  close(): void {
    if (!this.#timings || !this.#measured.length) return;
    try {
      appendFileSync(this.#timings, this.#measured.join(""), { mode: 0o600 });
    } catch (error) {
      this.#log.warn("timings can't be written", error);
    }
    this.#measured = [];
  }

  #note(name: string, ms: number): void {
    this.#measured.push(JSON.stringify({ hook: name, ms }) + "\n");
    if (name === "dispose") this.close();
    else if (this.#measured.length >= GATHERED)
      setImmediate(() => {
        this.close();
      });
  }
}
