/** OpenCode's own log. Never holds what events say. */

import type { Client } from "./opencode.ts";
import { reason } from "./values.ts";

type Severity = "debug" | "info" | "warn" | "error";

export class Log {
  readonly #client: Client;

  constructor(client: Client) {
    this.#client = client;
  }

  debug(message: string): void {
    this.#write("debug", message);
  }

  info(message: string): void {
    this.#write("info", message);
  }

  warn(message: string, error?: unknown): void {
    this.#write("warn", message, error);
  }

  /** Something that should not happen: `Memory plugin error`, and what it is. */
  error(message: string, error?: unknown): void {
    this.#write("error", `Memory plugin error: ${message}`, error);
  }

  #write(level: Severity, message: string, error?: unknown): void {
    const extra = error === undefined ? {} : { reason: reason(error).slice(0, 300) };
    try {
      // Nobody waits for it, and that it can't be written is told to nobody.
      Promise.resolve(
        this.#client.app.log({ body: { service: "memlane", level, message: `memlane: ${message}`, extra } }),
      ).catch(() => undefined);
    } catch {
      return;
    }
  }
}
