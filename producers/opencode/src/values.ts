/** Reading what others gave us: OpenCode's objects differ from version to version, so nothing in them is relied upon. */

export type Fields = Record<string, unknown>;

/** The value if it is an object, else an empty one. */
export function asFields(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

/** The value if it is a list, else an empty one. */
export function asList(value: unknown): unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

/** The value if it is text, else an empty one. */
export function asText(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** The value if it is a whole number above zero, else 0. */
export function asCount(value: unknown): number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : 0;
}

/** The value if it is true or false. */
export function asFlag(value: unknown): boolean | undefined {
  return typeof value === "boolean" ? value : undefined;
}

/** A time in epoch ms; undefined if it isn't one. */
export function asTime(value: unknown): number | undefined {
  return typeof value === "number" && value >= 0 && value < 253_402_300_800_000 ? Math.floor(value) : undefined;
}

/** The text's first characters (not UTF-16 units), `…` at the end where it was cut. */
export function head(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const points = Array.from(text.slice(0, 2 * limit + 2));
  if (points.length <= limit) return text;
  return points.slice(0, limit - 1).join("") + "…";
}

/** The text's last characters, `…` before them where it was cut. */
export function tail(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const points = Array.from(text.slice(-2 * limit - 2));
  if (points.length <= limit) return text;
  return "…" + points.slice(1 - limit).join("");
}

/** Lines as Python's `splitlines` has them, so that counts agree with the importer's. */
export function lines(text: string): string[] {
  const found = text.split(/\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/);
  if (found.at(-1) === "") found.pop();
  return found;
}

/** What went wrong, as text. Never part of an event. */
export function reason(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}
