/**
 * Where the files are that both languages share: the privacy rules and the queue server's scripts.
 *
 * In the source tree and in the installed Python package they lie in `memory/`, three folders up; in the packed npm
 * package, in `shared/` (put there by `prepack`).
 */

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const PACKED = new URL("../shared/", import.meta.url);
// Where this package was packed, the other place is in somebody's project.
const PLACE = existsSync(PACKED) ? PACKED : new URL("../../../memory/", import.meta.url);

/** Text of a shared file, by its path in `memory/`, such as `lua/publish.lua`. Throws if it isn't there. */
export function shared(path: string): string {
  const file = fileURLToPath(new URL(path, PLACE));
  if (!existsSync(file)) throw new Error(`${file} is missing: install the Memlane plugin again`);
  return readFileSync(file, "utf8");
}
