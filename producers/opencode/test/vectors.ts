/** The vectors that hold in every language: tests/vectors at the root of the repository. */

import { readFileSync } from "node:fs";

/** What a file of vectors holds. */
export function vectors(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../../../tests/vectors/${name}.json`, import.meta.url), "utf8"));
}

/** The value with what vectors only describe: long texts, deep lists. */
export function built(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(built);
  if (typeof value !== "object" || value === null) return value;
  if ("$repeat" in value && "times" in value) return String(value.$repeat).repeat(Number(value.times));
  if ("$nest" in value) {
    let nested: unknown = 0;
    for (let level = 0; level < Number(value.$nest); level++) nested = [nested];
    return nested;
  }
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, built(item)]));
}
