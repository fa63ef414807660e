import { describe, expect, test } from "bun:test";
import { fillOf, type Level, THRESHOLDS, type Thresholds, usableTokens } from "../src/context.ts";
import { contextTokens } from "../src/conversation.ts";
import type { Fields } from "../src/values.ts";
import { vectors } from "./vectors.ts";

interface Vectors {
  overflow: { limit: Fields; tokens: Fields; compaction: Fields; overflows: boolean }[];
  levels: { tokens: number; limit: number | null; percentage: number; level: Level; thresholds?: Thresholds }[];
}

const { overflow, levels } = vectors("context") as Vectors;

describe("vectors", () => {
  for (const [number, { limit, tokens, compaction, overflows }] of overflow.entries())
    test(`overflow ${number}`, () => {
      const usable = usableTokens(limit, compaction);
      expect(usable !== undefined && contextTokens(tokens) >= usable).toBe(overflows);
    });
  for (const [number, { tokens, limit, percentage, level, thresholds }] of levels.entries())
    test(`level ${number}`, () => {
      const fill = fillOf(tokens, { context: limit ?? undefined }, {}, thresholds ?? THRESHOLDS);
      expect([fill.percentage, fill.level]).toEqual([percentage, level]);
    });
});
