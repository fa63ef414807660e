/** How long hooks and questions take, for measurements: one line of JSON each, appended to a file. */

import { appendFileSync } from "node:fs";

import type { Log } from "./log.ts";

/** How long measured times are gathered before they are written, ms. */
const GATHER_MS = 500;

export class Timings {
  readonly #file: string | undefined;
  readonly #log: Log;
  #gathered: string[] = [];

  /** @param file undefined where nothing is to be measured */
  constructor(file: string | undefined, log: Log) {
    this.#file = file;
    this.#log = log;
  }

  /**
   * What took how long: `{hook: "event"}`; `{recall: "hit"}` from the user's message to the answer; `{waited: "answered"}`
   * for what the turn waited of that.
   */
  note(what: Record<string, string>, ms: number): void {
    if (!this.#file) return;
    if (!this.#gathered.length)
      setTimeout(() => {
        this.write();
      }, GATHER_MS).unref();
    this.#gathered.push(JSON.stringify({ ...what, ms }) + "\n");
  }

  /** Write what was gathered. */
  write(): void {
    if (!this.#file || !this.#gathered.length) return;
    try {
      appendFileSync(this.#file, this.#gathered.join(""), { mode: 0o600 });
    } catch (error) {
      this.#log.warn("timings can't be written", error);
    }
    this.#gathered = [];
  }
}
