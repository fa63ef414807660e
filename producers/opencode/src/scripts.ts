/** The queue server's scripts, and the keys that they work on: `memory/lua`, which says what each key means. */

import { createHash, randomBytes } from "node:crypto";

import { shared } from "./files.ts";
import type { Send } from "./valkey.ts";
import { reason } from "./values.ts";

/** Every key begins with this. */
export const PREFIX = "memlane:";
export const BELL = `${PREFIX}bell`;

/** How long a path stays marked as dropped, s. */
const DROPPED_SECONDS = 3600;
/** Most events that one lane may hold. */
const LANE_EVENTS = 1_000_000;
/** Share of the server's memory above which nothing more is published. */
const MEMORY_SHARE = 0.75;
/** A generation that begins with one of this process's calls is named by this word and the time. */
const WORD = randomBytes(8).toString("hex");

const known = new Map<string, { text: string; sha: string }>();

function script(name: string): { text: string; sha: string } {
  let found = known.get(name);
  if (!found) {
    const text = shared(`lua/${name}.lua`);
    found = { text, sha: createHash("sha1").update(text).digest("hex") };
    known.set(name, found);
  }
  return found;
}

/**
 * Runs a script by its SHA-1, or by its text where the server doesn't know it yet. That is so after each of its starts,
 * so it is then looked whether this is another life of the server: see generation.lua.
 */
export async function run(send: Send, name: string, keys: string[], parameters: (string | number)[]): Promise<unknown> {
  const { text, sha } = script(name);
  try {
    return await send("EVALSHA", sha, keys.length, ...keys, ...parameters);
  } catch (error) {
    if (!reason(error).startsWith("NOSCRIPT")) throw error;
    const word = randomBytes(8).toString("hex");
    await send("EVAL", script("generation").text, 2, `${PREFIX}generation`, `${PREFIX}run`, word);
    return await send("EVAL", text, keys.length, ...keys, ...parameters);
  }
}

/** Where events of a spool come from: how many it had sent before them, and how many wait behind them. */
export interface Origin {
  spool: string;
  before: number;
  behind: number;
}

/** One call of publish.lua: events of one group, in order, and the paths that they write to. */
export interface Call {
  group: string;
  events: string[];
  written: string[];
  origin?: Origin;
}

/** Keys and parameters of publish.lua. */
export function publishing({ group, events, written, origin }: Call): [string[], (string | number)[]] {
  const keys = ["pending", "bell", `captured:${group}`, `spools:${group}`, "full", "generation", "run"];
  const { spool, before, behind } = origin ?? { spool: "", before: 0, behind: 0 };
  return [
    [`lane:${group}`, ...keys, ...written.map((path) => `dropped:${group}:${path}`)].map((key) => PREFIX + key),
    [group, LANE_EVENTS, MEMORY_SHARE, DROPPED_SECONDS, WORD, spool, before, behind, ...events],
  ];
}
