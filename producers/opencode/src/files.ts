/**
 * Where the files are that both languages share: the privacy rules and the queue server's scripts.
 *
 * In the source tree and in the installed Python package they lie in `memory/`, three folders up; in the packed npm
 * package, in `shared/` (put there by `prepack`).
 */

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const PLACES = [new URL("../shared/", import.meta.url), new URL("../../../memory/", import.meta.url)];

/** Text of a shared file, by its path in `memory/`, such as `lua/publish.lua`. Throws if it isn't there. */
export function shared(path: string): string {
  for (const place of PLACES) {
    const file = fileURLToPath(new URL(path, place));
    if (existsSync(file)) return readFileSync(file, "utf8");
  }
  throw new Error(`${path} is missing beside the Memlane plugin: install it again`);
}
