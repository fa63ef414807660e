/**
 * Makes src/schema.ts from docs/event.schema.json, which in turn is made from the models in memory/events.py.
 *
 * bun scripts/schema.ts
 */

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { compile, type JSONSchema } from "json-schema-to-typescript";

type Json = Record<string, unknown>;

const SOURCE = fileURLToPath(new URL("../../../docs/event.schema.json", import.meta.url));
const TARGET = fileURLToPath(new URL("../src/schema.ts", import.meta.url));
const HEAD = `/* Made by scripts/schema.ts from docs/event.schema.json: change the models in memory/events.py instead. */\n`;
/** What of the schema says nothing about which values are right. */
const PROSE = new Set(["title", "description", "default", "format", "additionalProperties"]);

/** Text of src/schema.ts. */
export async function generated(): Promise<string> {
  const schema = JSON.parse(readFileSync(SOURCE, "utf8")) as {
    properties: Json;
    required: string[];
    $defs: Record<string, Json>;
    allOf: { if: { properties: { type: { enum: string[] } } }; then: { properties: { data: { $ref: string } } } }[];
  };
  const aliases: Record<string, string> = {};
  const types: Json = {};
  for (const rule of schema.allOf) {
    const [name = "", ...older] = rule.if.properties.type.enum;
    types[name] = rule.then.properties.data;
    for (const spelling of older) aliases[spelling] = name;
  }
  const all = {
    title: "EventData",
    description: "What `data` holds, by the event's type. Unknown fields are kept.",
    type: "object",
    properties: types,
    required: Object.keys(types),
    additionalProperties: false,
    $defs: schema.$defs,
  };
  const compiled = await compile(untitled(all) as JSONSchema, "EventData", { bannerComment: "" });
  // What is undefined is left out when an event is made.
  const interfaces = compiled.replaceAll("?: ", "?: undefined | ");
  const { $defs, properties, required } = schema;
  const shapes = { ...$defs, Event: { type: "object", properties, required } };
  return [
    HEAD,
    `import type { Shape } from "./shape.ts";\n`,
    interfaces,
    `/** Older spellings of types, accepted on input. */`,
    `export const ALIASES = new Map<string, string>(${JSON.stringify(Object.entries(aliases))});\n`,
    `/** What is right: the envelope (\`Event\`), and \`data\` by type. */`,
    `export const SHAPES = new Map<string, Shape>([`,
    ...Object.entries(shapes).map(([name, shape]) => `  [${JSON.stringify(name)}, ${JSON.stringify(bare(shape))}],`),
    `]);\n`,
  ].join("\n");
}

/** The schema without the titles of single fields, each of which would become a type of its own. */
function untitled(value: unknown, inProperties = false): unknown {
  if (Array.isArray(value)) return value.map((item) => untitled(item));
  if (typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value).filter(
    ([name]) => inProperties || (name !== "default" && (name !== "title" || "properties" in value)),
  );
  return Object.fromEntries(kept.map(([name, item]) => [name, untitled(item, name === "properties")]));
}

/** The schema without prose, and `X or null` as X that is nullable. */
function bare(value: unknown, inProperties = false): unknown {
  if (Array.isArray(value)) return value.map((item) => bare(item));
  if (typeof value !== "object" || value === null) return value;
  if ("anyOf" in value) {
    const [either, none] = value.anyOf as [Json, Json];
    if (none.type !== "null") throw new Error("only `X | None` is understood");
    return { ...(bare(either) as Json), nullable: true };
  }
  if ("$ref" in value) return { ref: (value.$ref as string).replace("#/$defs/", "") };
  const kept = Object.entries(value).filter(([name]) => inProperties || !PROSE.has(name));
  return Object.fromEntries(kept.map(([name, item]) => [name, bare(item, name === "properties")]));
}

if (import.meta.main) writeFileSync(TARGET, await generated());
