/** What the plugin is told: options in opencode.json, beside its name; else the environment; else defaults. */

import { homedir } from "node:os";
import { resolve } from "node:path";

import { THRESHOLDS, type Thresholds } from "./context.ts";
import { asFields, type Fields } from "./values.ts";

/** How long the exchange that publishes may take, and how long an agent waits for a recall that is not cached, ms. */
const PUBLISH_DEADLINE_MS = 50;
const RECALL_DEADLINE_MS = 300;
/** How long a tool of the agent's waits for a worker, ms. */
const TOOL_DEADLINE_MS = 10_000;
/** How long a session rests before it counts as ended, minutes. */
const SESSION_IDLE_MINUTES = 30;
/** A timer can wait no longer than this, ms. */
const MOST_MS = 2 ** 31 - 1;
/** Most bytes that wait in one spool. */
const SPOOL_BYTES = 64 * 1024 * 1024;

/** What may stand in opencode.json: `"plugin": [["…/index.ts", {"group": "shop"}]]`. */
export interface Options {
  /** The home of Memlane on this machine: spool, receipts, and where `memlane up` leaves its address. */
  home: string;
  /** URL of the queue server; undefined: that of the stack that runs in the home. */
  valkeyUrl: string | undefined;
  /** The shared memory; undefined: that of the session's folder. */
  group: string | undefined;
  publishDeadlineMs: number;
  recallDeadlineMs: number;
  toolDeadlineMs: number;
  /** Token budget of what is recalled; undefined: the workers' default. */
  recallTokens: number | undefined;
  spoolBytes: number;
  /** How long nothing happens in a session before it counts as ended. */
  sessionIdleMinutes: number;
  /** Whether the agent is given what memory holds on the user's message, and is told of a full context window. */
  inject: boolean;
  /** Whether the agent gets the tools `memory` and `memory_compact`. */
  tools: boolean;
  /** What becomes of OpenCode's compaction prompt. */
  compaction: "replace" | "append" | "off";
  /** Folder of the plans, relative to the project. */
  plans: string;
  thresholds: Thresholds;
  /** File that the durations of hooks and questions are appended to, for measurements. */
  timings: string | undefined;
}

/** The options, and a sentence for each that can't be understood and is left out. */
export function optionsOf(given: unknown, environ: Record<string, string | undefined>): [Options, string[]] {
  const fields = asFields(given);
  const problems: string[] = [];

  const take = <Value>(
    name: string,
    variable: string,
    read: (value: unknown) => Value | undefined,
  ): Value | undefined => {
    for (const [from, value] of [
      [`option ${name}`, fields[name]],
      [variable, variable ? environ[variable] : undefined],
    ] as const) {
      if (value === undefined || value === null || value === "") continue;
      const found = read(value);
      if (found !== undefined) return found;
      problems.push(`${from} can't be understood and is left out`);
    }
    return undefined;
  };

  const options: Options = {
    home: absolute(take("home", "MEMLANE_HOME", text) ?? "~/.memlane"),
    valkeyUrl: take("valkeyUrl", "MEMLANE_VALKEY_URL", text),
    group: take("group", "MEMLANE_GROUP", (value) =>
      typeof value === "string" && /^[A-Za-z0-9_-]{1,64}$/.test(value) ? value : undefined,
    ),
    publishDeadlineMs: take("publishDeadlineMs", "MEMLANE_PUBLISH_DEADLINE_MS", milliseconds) ?? PUBLISH_DEADLINE_MS,
    recallDeadlineMs: take("recallDeadlineMs", "MEMLANE_RECALL_DEADLINE_MS", milliseconds) ?? RECALL_DEADLINE_MS,
    toolDeadlineMs: take("toolDeadlineMs", "", milliseconds) ?? TOOL_DEADLINE_MS,
    recallTokens: take("recallTokens", "", whole),
    spoolBytes: take("spoolBytes", "MEMLANE_SPOOL_BYTES", positive) ?? SPOOL_BYTES,
    sessionIdleMinutes: take("sessionIdleMinutes", "MEMLANE_SESSION_IDLE_MINUTES", minutes) ?? SESSION_IDLE_MINUTES,
    inject: take("inject", "", flag) ?? true,
    tools: take("tools", "", flag) ?? true,
    compaction: take("compaction", "", oneOf("replace", "append", "off")) ?? "replace",
    plans: take("plans", "", text) ?? ".opencode/plans",
    thresholds: take("thresholds", "", thresholds) ?? thresholds(ofEnvironment(environ)) ?? THRESHOLDS,
    timings: take("timings", "MEMLANE_OPENCODE_TIMINGS", text),
  };
  const unknown = Object.keys(fields).filter((name) => !(name in options));
  problems.push(...unknown.map((name) => `there is no option ${name.slice(0, 80)}`));
  if (given !== undefined && given !== null && given !== fields)
    problems.push('options must be an object, as in ["…/index.ts", {"group": "shop"}]');
  return [options, problems];
}

function absolute(path: string): string {
  return resolve(path === "~" || path.startsWith("~/") ? homedir() + path.slice(1) : path);
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function positive(value: unknown): number | undefined {
  const number = typeof value === "string" ? Number(value) : value;
  return typeof number === "number" && number > 0 && Number.isFinite(number) ? number : undefined;
}

function milliseconds(value: unknown): number | undefined {
  const found = positive(value);
  return found !== undefined && found <= MOST_MS ? found : undefined;
}

function minutes(value: unknown): number | undefined {
  const found = positive(value);
  return found !== undefined && found * 60_000 <= MOST_MS ? found : undefined;
}

function whole(value: unknown): number | undefined {
  const found = positive(value);
  return Number.isSafeInteger(found) ? found : undefined;
}

function flag(value: unknown): boolean | undefined {
  return typeof value === "boolean" ? value : undefined;
}

function oneOf<Word extends string>(...words: Word[]): (value: unknown) => Word | undefined {
  return (value) => words.find((word) => word === value);
}

/** As the workers have them, where they are configured. */
function ofEnvironment(environ: Record<string, string | undefined>): Fields {
  const levels = Object.keys(THRESHOLDS).map((level) => [level, environ[`MEMLANE_CONTEXT_${level.toUpperCase()}`]]);
  return Object.fromEntries(levels.filter(([, value]) => value)) as Fields;
}

function thresholds(value: unknown): Thresholds | undefined {
  const found: Fields = { ...THRESHOLDS, ...asFields(value) };
  const [yellow, red, critical] = [positive(found.yellow), positive(found.red), positive(found.critical)];
  if (yellow === undefined || red === undefined || critical === undefined) return undefined;
  return yellow <= red && red <= critical && critical <= 100 ? { yellow, red, critical } : undefined;
}
