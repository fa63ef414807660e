/**
 * Privacy: secrets and `<private>` text are removed before an event leaves the agent. The same as memory/privacy.
 *
 *     redact({ text: "use ghp_… here", password: "hunter2" })
 *     // { text: "use [redacted:github-token] here", password: "[redacted:password]" }
 *
 * Vectors for all languages: tests/vectors/privacy.json. What is left alone on purpose is told in NOTICE.md.
 */

import { shared } from "./files.ts";
import { put } from "./json.ts";
import { flattened } from "./privacy/flat.ts";
import type { Searched, Span } from "./privacy/rule.ts";
import { type Active, type Name, type RuleFile, Rules } from "./privacy/rules.ts";
import { lowered } from "./privacy/runs.ts";

/** What stands where private text was. */
export const PRIVATE = "[private]";
/** Levels of lists and objects beyond which everything is removed. Events are refused at far fewer. */
const MAX_LEVELS = 200;
/** Removing a secret can bring another into a rule's reach; more often than this it doesn't. */
const ROUNDS = 4;
/** Smallest number that could be that of a card. */
const CARD = 10 ** 13;
/** Smallest number that counts as a password where a key says so: `{"password": 0}` says that there is none. */
const PIN = 1000;
/** Stands between strings that are searched as one: no pattern reaches over it. */
const BETWEEN = "\n\x1e\n";
const TAG = /<[ \t\r\n]{0,8}(\/?)[ \t\r\n]{0,8}private(?:[ \t\r\n][^<>]{0,256})?>/gi;

type Items = Record<string, unknown>;

let loaded: Rules | undefined;

function rules(): Rules {
  return (loaded ??= new Rules(JSON.parse(shared("privacy/rules.json")) as RuleFile));
}

/** The text without its secrets and private parts. */
export function redactText(text: string): string {
  const searched = prepared(text);
  const active = rules().active(searched);
  const isPrivate = mayBePrivate(searched);
  return active.length > 0 || isPrivate ? new Redaction(active, isPrivate).text(text) : text;
}

/**
 * The value without its secrets and private parts: strings, lists, and objects with their keys, nested. Where a key's
 * name says that its value is a secret, the value is removed even if no pattern fits it. Other types are left as they
 * are. If there is nothing to remove, the value itself is returned.
 */
export function redact(value: unknown): unknown {
  const strings: string[] = [];
  const keys: string[] = [];
  const deep = collect(value, strings, keys, 0);
  const searched = prepared([...strings, ...keys].join(BETWEEN));
  const active = rules().active(searched);
  const isPrivate = mayBePrivate(searched);
  const found =
    deep ||
    isPrivate ||
    (active.length > 0 && (rules().spans(searched, active).length > 0 || keys.some((key) => named(key) !== null)));
  return found ? new Redaction(active, isPrivate).value(value, 0) : value;
}

function prepared(text: string): Searched {
  const flat = flattened(text);
  const searched = flat?.text ?? text;
  return { text: searched, low: lowered(searched), flat };
}

function mayBePrivate({ low }: Searched): boolean {
  return low.includes("private") && low.includes("<");
}

function named(key: string): Name | null {
  return rules().named(flattened(key)?.text ?? key);
}

/** Add all strings in the value, long numbers among them, and the names of keys. Whether it is nested too deeply. */
function collect(value: unknown, strings: string[], keys: string[], level: number): boolean {
  if (typeof value === "string") strings.push(value);
  else if (mayBeCard(value)) strings.push(String(value));
  if (typeof value !== "object" || value === null) return false;
  if (level >= MAX_LEVELS) return true;
  let deep = false;
  if (Array.isArray(value)) {
    for (const item of value) deep = collect(item, strings, keys, level + 1) || deep;
    return deep;
  }
  for (const [key, item] of Object.entries(value)) {
    keys.push(key);
    deep = collect(item, strings, keys, level + 1) || deep;
  }
  return deep;
}

function mayBeCard(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > CARD;
}

/** One redaction, with what the prefilter left to look for. */
class Redaction {
  readonly #active: readonly Active[];
  readonly #isPrivate: boolean;

  constructor(active: readonly Active[], isPrivate: boolean) {
    this.#active = active;
    this.#isPrivate = isPrivate;
  }

  text(original: string): string {
    let searched = prepared(original);
    const { text: before, flat } = searched;
    if (this.#isPrivate && searched.low.includes("private")) {
      const text = withoutPrivate(before);
      if (text !== before) searched = { text, low: lowered(text), flat };
    }
    let active = this.#active;
    for (let round = 0; round < ROUNDS; round++) {
      const spans = rules().spans(searched, active);
      if (spans.length === 0) break;
      const text = replaced(searched.text, spans);
      searched = { text, low: lowered(text), flat };
      active = rules().active(searched);
    }
    return searched.text === before ? original : (flat?.restored(searched.text) ?? searched.text);
  }

  value(value: unknown, level: number): unknown {
    if (typeof value === "string") return this.text(value);
    if (mayBeCard(value)) {
      const number = String(value);
      const text = this.text(number);
      return text === number ? value : text;
    }
    if (typeof value !== "object" || value === null) return value;
    if (level >= MAX_LEVELS) return label("too-deep");
    return Array.isArray(value)
      ? this.#list(value, (item) => this.value(item, level + 1))
      : this.#object(value as Items, level);
  }

  #list(value: readonly unknown[], redacted: (item: unknown) => unknown): unknown {
    const items = value.map(redacted);
    return items.some((item, place) => item !== value[place]) ? items : value;
  }

  #object(value: Items, level: number): unknown {
    const items: Items = {};
    let changed = false;
    for (const [key, old] of Object.entries(value)) {
      const secret = named(key);
      const item = secret ? this.#secret(old, secret, level + 1) : this.value(old, level + 1);
      let name = this.text(key);
      if (name !== key) while (Object.hasOwn(items, name) || Object.hasOwn(value, name)) name += "'";
      put(items, name, item);
      changed ||= item !== old || name !== key;
    }
    return changed ? items : value;
  }

  /** The value of a key whose name says that it is a secret. */
  #secret(value: unknown, name: Name, level: number): unknown {
    if (typeof value === "string") {
      const text = this.text(value);
      if (text !== value) return text;
      return name.check(flattened(value)?.text ?? value, value) ? label(name.label) : value;
    }
    if (Array.isArray(value) && level < MAX_LEVELS)
      return this.#list(value, (item) => this.#secret(item, name, level + 1));
    if (Number.isSafeInteger(value) && name.label === "password" && (value as number) >= PIN) return label(name.label);
    return this.value(value, level);
  }
}

function label(name: string): string {
  return `[redacted:${name}]`;
}

/** Nested tags count; one that isn't closed reaches to the end; a closing one alone is nothing. */
function withoutPrivate(text: string): string {
  const kept: string[] = [];
  let depth = 0;
  let start = 0;
  for (const tag of text.matchAll(TAG)) {
    if (tag[0].endsWith("/>")) continue;
    if (tag[1] === "") {
      if (depth === 0) kept.push(text.slice(start, tag.index), PRIVATE);
      depth++;
    } else if (depth > 0) {
      depth--;
      start = tag.index + tag[0].length;
    }
  }
  if (kept.length === 0) return text;
  return depth > 0 ? kept.join("") : kept.join("") + text.slice(start);
}

/** The text with labels for spans; of overlapping ones, the rule that comes first names the whole. */
function replaced(text: string, spans: Span[]): string {
  spans.sort((a, b) => a.start - b.start || a.end - b.end || a.rank - b.rank);
  const kept: string[] = [];
  let done = 0;
  let current: Span | undefined;
  for (const span of spans) {
    if (current && span.start < current.end) {
      const first = span.rank < current.rank ? span : current;
      current = { ...first, start: current.start, end: Math.max(current.end, span.end) };
      continue;
    }
    if (current) {
      kept.push(text.slice(done, current.start), label(current.label));
      done = current.end;
    }
    current = span;
  }
  if (current) {
    kept.push(text.slice(done, current.start), label(current.label));
    done = current.end;
  }
  return kept.join("") + text.slice(done);
}
