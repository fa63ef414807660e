/**
 * The event: one thing that happened in an agent, as a CloudEvents 1.0 JSON object. The same bytes as in Python
 * (memory/events.py). Vectors for all languages: tests/vectors/events.json.
 */

import { ulid } from "./id.ts";
import { cleaned, object, plain, put, ValueInvalid } from "./json.ts";
import { normalPath } from "./path.ts";
import { redact } from "./privacy.ts";
import { ALIASES, type EventData, SHAPES } from "./schema.ts";
import { inside, isObject, problems, problemsOfField, type Shape } from "./shape.ts";
import { TimeInvalid, utcMilliseconds } from "./time.ts";

export type { EventData } from "./schema.ts";

/** Largest event, as UTF-8 JSON, in bytes. A larger one is refused. */
export const MAX_EVENT_BYTES = 256 * 1024;
/** A text field of `data` above this many UTF-8 bytes is clipped. */
export const MAX_TEXT_BYTES = 32 * 1024;

/** `data` of a type; of unknown types, anything. */
export type DataOf<T extends string> = T extends keyof EventData ? EventData[T] : Record<string, unknown>;

/** What a producer knows of an event. What is undefined or null counts as left out. */
export interface Fields<T extends string = string> {
  type: T;
  data: DataOf<T>;
  /** Default: a ULID. */
  id?: string | null | undefined;
  /** Default: now. */
  time?: Date | string | null | undefined;
  source?: string | null | undefined;
  group?: string | null | undefined;
  session?: string | null | undefined;
  agent?: string | null | undefined;
  user?: string | null | undefined;
  /** Root of the project, to which paths are relative. */
  project?: string | null | undefined;
  subject?: string | null | undefined;
  [attribute: string]: unknown;
}

/** An event as it is sent: attributes that are absent are left out. */
export interface Event<T extends string = string> {
  specversion: "1.0";
  id: string;
  source: string;
  type: T;
  /** UTC, to the ms. */
  time: string;
  group: string;
  session?: string;
  agent?: string;
  user?: string;
  project?: string;
  subject?: string;
  data: DataOf<T> & Record<string, unknown>;
  [attribute: string]: unknown;
}

/** An event can't be accepted. The message names the field and never holds the event's content. */
export class EventInvalid extends Error {
  override name = "EventInvalid";
}

const ENVELOPE: Shape = SHAPES.get("Event") ?? {};
const ATTRIBUTES = Object.keys(ENVELOPE.properties ?? {});
/** Attributes that are never redacted: made by machines, or checked by a pattern. */
const UNREDACTED = new Set(["specversion", "id", "source", "type", "time", "group", "session"]);

type Attributes = Record<string, unknown>;
type Data = Record<string, unknown>;

/**
 * Make an event from what a producer knows: fills in id, time, source and group, removes secrets, normalises paths,
 * clips long text, and encodes it.
 *
 * Throws `EventInvalid`, which names every field that is missing or wrong.
 */
export function create<T extends string>(
  fields: Fields<T>,
  { source, group }: { source: string; group: string },
): { event: Event<T>; json: string } {
  const filled: Attributes = { id: ulid(), time: new Date(), source, group };
  for (const [name, value] of Object.entries(fields))
    if (value !== undefined && value !== null) put(filled, name, value);
  try {
    // Before anything is clipped: a secret that is cut in half is not recognised any more.
    const attributes = cleaned(redacted(plain(filled) as Attributes)) as Attributes;
    const event = checked({ specversion: "1.0", ...attributes });
    clip(event);
    return { event: event as Event<T>, json: encode(event) };
  } catch (error) {
    throw error instanceof ValueInvalid ? new EventInvalid(error.message) : error;
  }
}

/** The attributes without secrets and private text, wherever in them people or programs may have put some. */
function redacted(attributes: Attributes): Attributes {
  const free = picked(attributes, (name) => !UNREDACTED.has(name));
  const clean = redact(free) as Attributes;
  if (clean === free) return attributes;
  const whole = picked(attributes, (name) => UNREDACTED.has(name));
  for (const [name, value] of Object.entries(clean)) put(whole, name, value);
  return whole;
}

/** The event that the attributes make, normalised. */
function checked(attributes: Attributes): Event {
  if (typeof attributes.type === "string") attributes.type = ALIASES.get(attributes.type) ?? attributes.type;
  const found = ATTRIBUTES.flatMap((name) =>
    name === "time" ? problemsOfTime(attributes) : problemsOfField(attributes, ENVELOPE, name),
  );
  if (found.length > 0) throw new EventInvalid(found.join("; "));
  const event = attributes as Event;
  normalise(event);
  const shape = SHAPES.get(event.type);
  const wrong = shape ? problems(event.data, shape, "data") : [];
  if (wrong.length > 0) throw new EventInvalid(wrong.join("; "));
  return event;
}

/** What is wrong with the time; what isn't is brought into the form in which it is stored. */
function problemsOfTime(attributes: Attributes): string[] {
  try {
    attributes.time = utcMilliseconds(attributes.time);
    return [];
  } catch (error) {
    if (error instanceof TimeInvalid) return [`time: ${error.message}`];
    throw error;
  }
}

function normalise(event: Event): void {
  const { path, paths } = event.data as Data;
  if (typeof path === "string" && path) event.data.path = event.subject = normalPath(path, event.project);
  if (Array.isArray(paths))
    event.data.paths = paths.map((item) =>
      typeof item === "string" ? normalPath(item, event.project) : (item as unknown),
    );
}

/** Shorten text above `MAX_TEXT_BYTES`, in place; `data.clipped` says how many bytes each such field had. */
function clip(event: Event): void {
  const clipped: Data = {};

  function shorten(value: unknown, where: string): unknown {
    if (typeof value === "string" && value.length > MAX_TEXT_BYTES / 4) {
      const raw = Buffer.from(value);
      if (raw.length <= MAX_TEXT_BYTES) return value;
      put(clipped, where, raw.length);
      return beginning(raw);
    }
    if (typeof value !== "object" || value === null) return value;
    if (Array.isArray(value)) return value.map((item, place) => shorten(item, inside(where, place)));
    const items: Data = {};
    for (const [name, item] of Object.entries(value)) put(items, name, shorten(item, inside(where, name)));
    return items;
  }

  const data = shorten(event.data, "") as Data;
  event.data = data;
  if (Object.keys(clipped).length === 0) return;
  const earlier = data.clipped;
  data.clipped = { ...(isObject(earlier) ? earlier : {}), ...clipped };
  if (Object.hasOwn(clipped, "path")) event.subject = data.path as string;
}

/** As much of a text in UTF-8 as may stay, up to the end of a character. */
function beginning(raw: Buffer): string {
  let end = MAX_TEXT_BYTES;
  while (((raw[end] ?? 0) & 0xc0) === 0x80) end--;
  return raw.toString("utf8", 0, end);
}

/** The event as JSON: attributes in the envelope's order, then others, then data. */
function encode(event: Event): string {
  const known = ATTRIBUTES.filter((name) => name !== "data" && Object.hasOwn(event, name));
  const others = Object.keys(event).filter((name) => !ATTRIBUTES.includes(name));
  const json = object([...known, ...others, "data"].map((name) => [name, event[name]] as const));
  const size = Buffer.byteLength(json);
  if (size > MAX_EVENT_BYTES)
    throw new EventInvalid(
      `event: ${size} bytes of JSON are above the limit of ${MAX_EVENT_BYTES}: shorten the fields of data`,
    );
  return json;
}

function picked(attributes: Attributes, wanted: (name: string) => boolean): Attributes {
  const found: Attributes = {};
  for (const [name, value] of Object.entries(attributes)) if (wanted(name)) put(found, name, value);
  return found;
}
