/**
 * JSON in the one form that all of Memlane writes: the bytes that orjson makes of the same value in Python.
 *
 * JavaScript has one kind of number. A whole one up to 2^53 - 1 is written as an integer, any other as a float.
 */

/** Most levels of objects and lists in each other. */
export const MAX_DEPTH = 64;

const UNSAFE = /[\0\ud800-\udfff]/;
const LONE_SURROGATE_OR_NUL = /[\0\ud800-\udfff]/gu;

/** A value that can't be in an event. The message says why, and holds none of it. */
export class ValueInvalid extends Error {}

/**
 * What `JSON.stringify` would make of the value: of dates and URLs their texts, of undefined nothing. The value itself
 * if it is plain already.
 *
 * Throws `ValueInvalid` if it is nested too deeply (or holds itself), or holds a number that isn't one.
 */
export function plain(value: unknown, depth = 0): unknown {
  if (typeof value === "number" && !Number.isFinite(value))
    throw new ValueInvalid("event: holds a number that JSON can't (infinite, or not a number)");
  if (typeof value === "bigint")
    throw new ValueInvalid("event: holds a bigint, which JSON can't: use a number or text");
  if (typeof value === "function" || typeof value === "symbol") return undefined;
  if (typeof value !== "object" || value === null) return value;
  if (depth >= MAX_DEPTH) throw new ValueInvalid(`event: nested deeper than ${MAX_DEPTH} levels`);
  if (writesItself(value)) return plain(value.toJSON(), depth + 1);
  if (Array.isArray(value)) {
    const items = value.map((item) => plain(item, depth + 1) ?? null);
    return items.every((item, place) => item === value[place]) ? value : items;
  }
  const items: Record<string, unknown> = {};
  let changed = !isPlain(value);
  for (const [name, old] of Object.entries(value)) {
    const item = plain(old, depth + 1);
    changed ||= item !== old || item === undefined;
    if (item !== undefined) put(items, name, item);
  }
  return changed ? items : value;
}

/** The plain value without what databases and languages read differently: NUL and halves of surrogate pairs become
 * U+FFFD. */
export function cleaned(value: unknown): unknown {
  if (typeof value === "string") return UNSAFE.test(value) ? value.replace(LONE_SURROGATE_OR_NUL, "\ufffd") : value;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(cleaned);
  const items: Record<string, unknown> = {};
  for (const [name, item] of Object.entries(value)) put(items, cleaned(name) as string, cleaned(item));
  return items;
}

/** The value, plain and cleaned, as JSON. */
export function encoded(value: unknown): string {
  if (typeof value === "number") return number(value);
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(encoded).join(",")}]`;
  return object(Object.entries(value));
}

/** An object as JSON, its keys in the given order: JavaScript's own objects put those that look like integers first. */
export function object(entries: readonly (readonly [string, unknown])[]): string {
  return `{${entries.map(([name, item]) => `${JSON.stringify(name)}:${encoded(item)}`).join(",")}}`;
}

/** Set a field, also one that is called `__proto__`. */
export function put(target: Record<string, unknown>, name: string, value: unknown): void {
  if (name === "__proto__")
    Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true });
  else target[name] = value;
}

function number(value: number): string {
  if (Number.isSafeInteger(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1e16 || size < 1e-5) return value.toExponential();
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function writesItself(value: object): value is { toJSON: () => unknown } {
  return "toJSON" in value && typeof value.toJSON === "function";
}
