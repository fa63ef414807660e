/** How long hooks and questions take, for measurements: one line of JSON each, appended to a file. */

import { appendFileSync } from "node:fs";

import type { Log } from "./log.ts";

/** Measured times that are gathered before they are written. */
const GATHERED = 200;

export class Timings {
  readonly #file: string | undefined;
  readonly #log: Log;
  #gathered: string[] = [];

  /** @param file undefined where nothing is to be measured */
  constructor(file: string | undefined, log: Log) {
    this.#file = file;
    this.#log = log;
  }

  /** What took how long: `{hook: "event"}`, `{recall: "hit"}`. */
  note(what: Record<string, string>, ms: number): void {
    if (!this.#file) return;
    this.#gathered.push(JSON.stringify({ ...what, ms }) + "\n");
    // Behind what is measured.
    if (this.#gathered.length === GATHERED)
      setImmediate(() => {
        this.write();
      });
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
