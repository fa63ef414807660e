/**
 * How full a session's context window is, by OpenCode's own rule (of 1.18) of when it compacts: the same as
 * `memory/context_window.py`. Vectors for all languages: tests/vectors/context.json.
 */

import { asCount, asFields, type Fields } from "./values.ts";

/** Tokens of a model that doesn't say what it takes. */
const LIMIT = 200_000;
/** Most tokens of an answer that OpenCode asks for, and what it keeps free for a compaction. */
const MOST_OUTPUT = 32_000;
const RESERVED = 20_000;

export type Level = "green" | "yellow" | "red" | "critical";

const LEVELS: readonly Level[] = ["green", "yellow", "red", "critical"];

/** Percentages of the window from which a level begins. */
export interface Thresholds {
  yellow: number;
  red: number;
  critical: number;
}

export const THRESHOLDS: Thresholds = { yellow: 70, red: 85, critical: 92 };

/** How full the window is. `usable` is what may be filled before OpenCode compacts; undefined where it never does. */
export interface Fill {
  tokens: number;
  limit: number;
  usable: number | undefined;
  percentage: number;
  level: Level;
}

/**
 * Tokens that the context may hold before OpenCode compacts; undefined where it never does.
 *
 * @param limit the model's `limit`: `{context, input?, output}`
 * @param compaction OpenCode's setting: `{auto?, reserved?}`
 */
export function usableTokens(limit: Fields, compaction: Fields): number | undefined {
  if (compaction.auto === false || limit.context === 0) return undefined;
  const output = Math.min(asCount(limit.output), MOST_OUTPUT) || MOST_OUTPUT;
  const reserved = typeof compaction.reserved === "number" ? compaction.reserved : Math.min(RESERVED, output);
  return asCount(limit.input)
    ? Math.max(0, asCount(limit.input) - reserved)
    : Math.max(0, (asCount(limit.context) || LIMIT) - output);
}

/** How full a window with this limit is. */
export function fillOf(tokens: number, limit: Fields, compaction: Fields, thresholds: Thresholds): Fill {
  const size = asCount(limit.context) || LIMIT;
  const percentage = Number(((100 * tokens) / size).toFixed(1));
  const level =
    percentage > thresholds.critical
      ? "critical"
      : percentage >= thresholds.red
        ? "red"
        : percentage >= thresholds.yellow
          ? "yellow"
          : "green";
  return { tokens, limit: size, usable: usableTokens(limit, compaction), percentage, level };
}

/** Watches one session's window. */
export class Window {
  /** As far as it is known: the model's name, its limit, and how many tokens the context holds. */
  model = "";
  limit: Fields = {};
  tokens = 0;
  #warned = 0;

  /** Take note of the model that is asked. */
  asked(model: Fields): void {
    const provider = typeof model.providerID === "string" ? `${model.providerID}/` : "";
    if (typeof model.id === "string") this.model = provider + model.id;
    this.limit = asFields(model.limit);
  }

  /** Take note of the size of the context. Returns whether a level was reached of which nobody was warned yet. */
  grew(fill: Fill): boolean {
    const reached = LEVELS.indexOf(fill.level);
    if (reached <= this.#warned) return false;
    this.#warned = reached;
    return true;
  }

  /** The session was compacted: whoever was warned is warned again. */
  compacted(): void {
    this.tokens = 0;
    this.#warned = 0;
  }
}

/** What an agent whose window is this full should do; empty where it need not care. */
export function advice(level: Level): string {
  return {
    green: "",
    yellow: "Finish what you are at before you begin something large.",
    red: "Note what must not be forgotten, and compact (`memory_compact`) at the next good point.",
    critical: "Compact now (`memory_compact`): the window is nearly full.",
  }[level];
}

/** What the agent is told at yellow and above. */
export function advisory(fill: Fill): string {
  return `[Context Window] ${described(fill)}. ${advice(fill.level)}`;
}

/** How full the window is, in a few words. */
export function described({ level, percentage, tokens, limit }: Fill): string {
  return `${level}: ${percentage} %, ${tokens.toLocaleString("en")} of ${limit.toLocaleString("en")} tokens`;
}
