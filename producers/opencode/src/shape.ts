/**
 * Checks a value against what src/schema.ts says, in the words of the Python models: each problem names its field and
 * never holds what was in it.
 */

import { SHAPES } from "./schema.ts";

/** What a value must be: the part of JSON Schema that docs/event.schema.json uses. */
export interface Shape {
  type?: string;
  /** Whether null is right, too. */
  nullable?: boolean;
  /** Name of another shape that this one is. */
  ref?: string;
  const?: string;
  enum?: string[];
  /** In characters, which are Unicode's and not JavaScript's. */
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  items?: Shape;
  properties?: Record<string, Shape>;
  required?: string[];
}

const patterns = new Map<string, RegExp>();

/** What is wrong with a value: `field: what it should be`, in the order of the fields. */
export function problems(value: unknown, shape: Shape, where = ""): string[] {
  if (value === null && shape.nullable) return [];
  const named = shape.ref === undefined ? undefined : SHAPES.get(shape.ref);
  if (shape.ref !== undefined && named) {
    if (isObject(value)) return problems(value, named, where);
    return [`${where}: Input should be a valid dictionary or instance of ${shape.ref}`];
  }
  if (shape.properties) return isObject(value) ? fields(value, shape, where) : [`${where}: ${wrong("dictionary")}`];
  if (shape.items) {
    const { items } = shape;
    if (!Array.isArray(value)) return [`${where}: ${wrong("list")}`];
    return value.flatMap((item, place) => problems(item, items, inside(where, place)));
  }
  const message = problem(value, shape);
  return message === null ? [] : [`${where}: ${message}`];
}

function fields(value: Record<string, unknown>, shape: Shape, where: string): string[] {
  return Object.keys(shape.properties ?? {}).flatMap((name) => problemsOfField(value, shape, name, where));
}

/** What is wrong with one field of an object. */
export function problemsOfField(value: Record<string, unknown>, shape: Shape, name: string, where = ""): string[] {
  const expected = shape.properties?.[name];
  if (expected && Object.hasOwn(value, name)) return problems(value[name], expected, inside(where, name));
  return shape.required?.includes(name) ? [`${inside(where, name)}: Field required`] : [];
}

function problem(value: unknown, shape: Shape): string | null {
  if (shape.const !== undefined) return value === shape.const ? null : `Input should be '${shape.const}'`;
  if (shape.enum) return shape.enum.includes(value as string) ? null : `Input should be ${listed(shape.enum)}`;
  switch (shape.type) {
    case "string":
      return typeof value === "string" ? ofText(value, shape) : wrong("string");
    case "integer":
      return Number.isSafeInteger(value) ? ofNumber(value as number, shape) : wrong("integer");
    case "number":
      return typeof value === "number" ? ofNumber(value, shape) : wrong("number");
    case "boolean":
      return typeof value === "boolean" ? null : wrong("boolean");
    case "object":
      return isObject(value) ? null : wrong("dictionary");
    default:
      return null;
  }
}

function ofText(value: string, { minLength = 0, maxLength, pattern }: Shape): string | null {
  if (value.length < minLength) return `String should have at least ${counted(minLength)}`;
  if (maxLength !== undefined && value.length > maxLength && Array.from(value).length > maxLength)
    return `String should have at most ${counted(maxLength)}`;
  return pattern === undefined || compiled(pattern).test(value) ? null : `String should match pattern '${pattern}'`;
}

function ofNumber(value: number, { minimum, maximum }: Shape): string | null {
  if (minimum !== undefined && value < minimum) return `Input should be greater than or equal to ${minimum}`;
  if (maximum !== undefined && value > maximum) return `Input should be less than or equal to ${maximum}`;
  return null;
}

function compiled(pattern: string): RegExp {
  let found = patterns.get(pattern);
  if (!found) patterns.set(pattern, (found = new RegExp(pattern)));
  return found;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Name of a field within another: `data.path`, `todos.1`. */
export function inside(where: string, name: string | number): string {
  return where ? `${where}.${name}` : String(name);
}

function wrong(kind: string): string {
  return `Input should be a valid ${kind}`;
}

function counted(characters: number): string {
  return `${characters} character${characters === 1 ? "" : "s"}`;
}

/** `'a', 'b' or 'c'`. */
function listed(words: string[]): string {
  const quoted = words.map((word) => `'${word}'`);
  return quoted.length < 2
    ? quoted.join("")
    : `${quoted.slice(0, -1).join(", ")} or ${quoted[quoted.length - 1] ?? ""}`;
}
