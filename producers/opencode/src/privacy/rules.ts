/**
 * The rules of memory/privacy/rules.json, and where they match; memory/privacy/NOTICE.md tells what their fields mean.
 * The same as memory/privacy/rules.py.
 *
 * Speed comes from looking for literal keywords first, and trying a rule's pattern only where one of its keywords
 * stands. Keywords of `long` rules are looked for in long runs of letters and digits only, which are rare in text.
 */

import { type Check, checks, entropy, JUDGED } from "./checks.ts";
import type { Flat } from "./flat.ts";

/** From this length on, a run is searched by `long` rules without a keyword. */
const LONGEST = 50;
/** From so many on, longer keywords are looked for around the one that they hold; fewer, in the whole text. */
const SEVERAL = 3;
/** How many characters before a keyword `near` looks at. */
const REACH = 256;
/** What was refused as a value is not looked through again for the same keyword, but for this many last characters. */
const REJECTED = 64;
/** How many characters after the head of a private key must show that it is one. */
const EVIDENCE = 400;

/** Runs in which the keywords of `long` rules are looked for, in a lowered text. */
const RUNS = /[a-z0-9_.~-]{20,}/g;
/** What a text with a card number holds. */
const CARDS = /[0-9]{14}|[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4}/;
const KEY_BODY = /[A-Za-z0-9+/]{16,80}/g;
const LINE_END = /^[ \t]{0,8}(?:\r?\n|\\{1,4}[nr])/;
const NOT_ASCII = /[^\0-\x7f]/;
const ALL_NOT_ASCII = /[^\0-\x7f]/g;

/** rules.json. */
export interface RuleFile {
  placeholders: string[];
  placeholder_words: string[];
  identifiers: string[];
  names: { label: string; pattern: string; check: string }[];
  rules: RuleFields[];
}

interface RuleFields {
  label: string;
  keywords: string[];
  pattern: string;
  long?: boolean;
  offset?: number;
  flags?: string;
  after_word?: string[];
  near?: string[];
  stop?: string;
  end?: string;
  distinct?: number;
  entropy?: number;
  check?: string | string[];
}

/** Where a rule matched. */
export interface Span {
  start: number;
  end: number;
  /** Place of the rule among all. */
  rank: number;
  label: string;
}

/** A rule that may match in a text, and the keyword for which it may; empty if it has none. */
export type Active = readonly [rule: Rule, keyword: string];

/** A key whose name says that its value is secret. */
export interface Name {
  label: string;
  check: Check;
}

class Rule {
  readonly rank: number;
  readonly fields: RuleFields;
  readonly checks: Check[];
  #pattern: RegExp | undefined;
  #end: RegExp | undefined;

  constructor(rank: number, fields: RuleFields, all: Record<string, Check>) {
    this.rank = rank;
    this.fields = fields;
    const { check = [] } = fields;
    this.checks = (typeof check === "string" ? [check] : check).map((name) => known(all, name));
  }

  /** What matches: at `lastIndex` where the rule has a keyword, from there on where it has none. */
  get pattern(): RegExp {
    const { pattern, keywords, flags = "" } = this.fields;
    return (this.#pattern ??= new RegExp(
      pattern,
      `${keywords.length > 0 ? "y" : "g"}${flags}${hasGroups(pattern) ? "d" : ""}`,
    ));
  }

  /** What ends a block. */
  get end(): RegExp {
    return (this.#end ??= new RegExp(this.fields.end ?? "", "g"));
  }
}

/** All rules, and the prefilter over their keywords. */
export class Rules {
  readonly #names: { label: string; pattern: RegExp; check: Check }[];
  readonly #inText: Map<string, Rule[]>;
  readonly #inRuns: Map<string, Rule[]>;
  readonly #runs: Rule[];
  readonly #digits: Rule[];
  /** Keywords that hold no other one, each with those that hold it: these can only occur where that one does. */
  readonly #keywords: [keyword: string, longer: string[]][];
  readonly #known = new Map<string, Name | null>();

  constructor(file: RuleFile) {
    const all = checks(file.placeholders, file.placeholder_words, file.identifiers);
    const rules = file.rules.map((fields, rank) => new Rule(rank, fields, all));
    this.#names = file.names.map(({ label, pattern, check }) => ({
      label,
      pattern: new RegExp(`^(?:${pattern})$`, "i"),
      check: known(all, check),
    }));
    this.#inText = byKeyword(rules.filter(({ fields }) => fields.keywords.length > 0 && !fields.long));
    this.#inRuns = byKeyword(rules.filter(({ fields }) => fields.keywords.length > 0 && fields.long));
    this.#runs = rules.filter(({ fields }) => fields.keywords.length === 0 && fields.long);
    this.#digits = rules.filter(({ fields }) => fields.keywords.length === 0 && !fields.long);
    this.#keywords = tree([...this.#inText.keys()]);
  }

  /** Rules that may match in a text; `low` is the text as `lowered`. */
  active(text: string, low: string): Active[] {
    const found: Active[] = [];
    if (CARDS.test(low)) for (const rule of this.#digits) found.push([rule, ""]);
    for (const [keyword, longer] of this.#keywords) {
      if (!low.includes(keyword)) continue;
      this.#add(found, this.#inText, keyword);
      const nearby =
        longer.length >= SEVERAL ? around(low, keyword, Math.max(...longer.map((word) => word.length))) : low;
      for (const other of longer) if (nearby.includes(other)) this.#add(found, this.#inText, other);
    }
    const runs = low.match(RUNS);
    if (!runs) return found;
    const joined = runs.join(" ");
    for (const keyword of this.#inRuns.keys()) if (joined.includes(keyword)) this.#add(found, this.#inRuns, keyword);
    if (runs.some((run) => run.length >= LONGEST))
      for (const rule of this.#runs) if (matchFrom(rule.pattern, text, 0)) found.push([rule, ""]);
    return found;
  }

  /** Where the rules match in a text, whose characters are flat; spans may overlap. */
  spans(text: string, low: string, active: readonly Active[], flat: Flat | null): Span[] {
    const found: Span[] = [];
    for (const [rule, keyword] of active) {
      if (keyword === "") everywhere(rule, text, flat, found);
      else if (low.includes(keyword)) (rule.fields.end ? blocks : beside)(rule, keyword, text, low, flat, found);
    }
    return found;
  }

  /** Label and check, if a key's name says that its value is a secret. */
  named(key: string): Name | null {
    if (key.length > 128) return null;
    let found = this.#known.get(key);
    if (found === undefined) {
      found = this.#names.find(({ pattern }) => pattern.test(key)) ?? null;
      if (this.#known.size >= 4096) this.#known.clear();
      this.#known.set(key, found);
    }
    return found;
  }

  #add(found: Active[], rules: Map<string, Rule[]>, keyword: string): void {
    for (const rule of rules.get(keyword) ?? []) found.push([rule, keyword]);
  }
}

/** The text in lower case, as ASCII and of the same length, so that places in one are places in the other. */
export function lowered(text: string): string {
  return (NOT_ASCII.test(text) ? text.replace(ALL_NOT_ASCII, "?") : text).toLowerCase();
}

function everywhere(rule: Rule, text: string, flat: Flat | null, found: Span[]): void {
  let match = matchFrom(rule.pattern, text, 0);
  while (match) {
    const secret = secretOf(match);
    if (holds(rule, secret, text, match, flat)) found.push(spanOf(rule, secret));
    match = matchFrom(rule.pattern, text, endOf(match));
  }
}

function beside(rule: Rule, keyword: string, text: string, low: string, flat: Flat | null, found: Span[]): void {
  const { offset = 0, after_word: words, near } = rule.fields;
  const { pattern } = rule;
  let place = low.indexOf(keyword);
  while (place >= 0) {
    let after = place + 1;
    if (place + offset >= 0 && (!words || follows(words, low, place))) {
      const match = matchFrom(pattern, text, place + offset);
      if (match) {
        const secret = secretOf(match);
        if ((!near || isNear(near, low, place)) && holds(rule, secret, text, match, flat)) {
          found.push(spanOf(rule, secret));
          after = Math.max(after, secret.end);
        } else {
          // Text that consists of keywords would be looked at again and again.
          after = Math.max(after, secret.end - REJECTED);
        }
      }
    }
    place = low.indexOf(keyword, after);
  }
}

/** Private keys, whole. One that isn't ended reaches to the end of the text, or to the next one. */
function blocks(rule: Rule, keyword: string, text: string, low: string, _flat: Flat | null, found: Span[]): void {
  let place = low.indexOf(keyword);
  let ended: RegExpExecArray | null = null;
  let searched = false;
  while (place >= 0) {
    const begin = matchFrom(rule.pattern, text, place);
    if (!begin) {
      place = low.indexOf(keyword, place + 1);
      continue;
    }
    const body = endOf(begin);
    const following = low.indexOf(keyword, body);
    if (!searched || (ended && ended.index < body)) {
      ended = matchFrom(rule.end, text, body);
      searched = true;
    }
    const whole = ended && (following < 0 || ended.index < following) ? ended : null;
    const stop = whole ? endOf(whole) : following >= 0 ? following : text.length;
    if ((whole && LINE_END.test(text.slice(body, body + 16))) || hasKey(text, body, stop)) {
      found.push({ start: place, end: stop, rank: rule.rank, label: rule.fields.label });
      place = low.indexOf(keyword, stop);
    } else {
      // Only the words are there, as in this very file.
      place = following;
    }
  }
}

/** The part of a match that is the secret: the last group that took part, else the whole. */
interface Secret {
  value: string;
  start: number;
  end: number;
  /** Number of the group; 0 for the whole. */
  group: number;
}

function secretOf(match: RegExpExecArray): Secret {
  for (let group = match.length - 1; group > 0; group--) {
    const value = match[group];
    const place = match.indices?.[group];
    if (value !== undefined && place) return { value, start: place[0], end: place[1], group };
  }
  return { value: match[0], start: match.index, end: endOf(match), group: 0 };
}

function spanOf(rule: Rule, { start, end }: Secret): Span {
  return { start, end, rank: rule.rank, label: rule.fields.label };
}

function holds(rule: Rule, { value, group }: Secret, text: string, match: RegExpExecArray, flat: Flat | null): boolean {
  const { distinct = 0, stop = "", entropy: least = 0 } = rule.fields;
  if (distinct > 0 && new Set(value.slice(0, JUDGED)).size < distinct) return false;
  const following = text.charAt(endOf(match));
  if (following !== "" && stop.includes(following)) return false;
  const check = rule.checks[Math.min(group || 1, rule.checks.length) - 1];
  if (check && !check(value, flat ? flat.restored(value) : value)) return false;
  return least === 0 || entropy(value) >= least;
}

/** The first match from a place on; of sticky patterns, the one there. */
function matchFrom(pattern: RegExp, text: string, place: number): RegExpExecArray | null {
  pattern.lastIndex = place;
  return pattern.exec(text);
}

function endOf(match: RegExpExecArray): number {
  return match.index + match[0].length;
}

/**
 * What stands so near to a keyword that a longer one, of at most `reach` characters, may hold it; the whole text where
 * the keyword stands everywhere.
 */
function around(low: string, keyword: string, reach: number): string {
  const found: string[] = [];
  const most = Math.floor(low.length / (4 * reach));
  let place = low.indexOf(keyword);
  while (place >= 0) {
    if (found.length > most) return low;
    found.push(low.slice(Math.max(0, place - reach), place + reach));
    place = low.indexOf(keyword, place + 1);
  }
  return found.join("\n");
}

/** Whether one of the words stands before the place, with at most one of `_ .-` between. */
function follows(words: readonly string[], low: string, place: number): boolean {
  const end = place > 0 && "_ .-".includes(low.charAt(place - 1)) ? place - 1 : place;
  return words.some((word) => low.endsWith(word, end));
}

/** Whether one of the words stands in the text before the place. */
function isNear(words: readonly string[], low: string, place: number): boolean {
  const reach = low.slice(Math.max(0, place - REACH), place);
  return words.some((word) => reach.includes(word));
}

/** Whether base64 follows, with a digit in it, before the next dashes. */
function hasKey(text: string, start: number, end: number): boolean {
  const part = text.slice(start, Math.min(end, start + EVIDENCE));
  const dashes = part.indexOf("-----");
  const runs = (dashes >= 0 ? part.slice(0, dashes) : part).match(KEY_BODY) ?? [];
  return runs.some((run) => /[0-9]/.test(run));
}

function byKeyword(rules: readonly Rule[]): Map<string, Rule[]> {
  const found = new Map<string, Rule[]>();
  for (const rule of rules)
    for (const keyword of rule.fields.keywords) found.set(keyword, [...(found.get(keyword) ?? []), rule]);
  return found;
}

function tree(keywords: readonly string[]): [string, string[]][] {
  const shortest = keywords.filter((word) => !keywords.some((other) => other !== word && word.includes(other)));
  const longer = new Map<string, string[]>(shortest.map((word) => [word, []]));
  for (const word of keywords)
    if (!longer.has(word)) longer.get(shortest.find((short) => word.includes(short)) ?? "")?.push(word);
  return [...longer];
}

function known(all: Record<string, Check>, name: string): Check {
  const check = all[name];
  if (!check) throw new Error(`rules.json names the check ${name}, which there is not`);
  return check;
}

function hasGroups(pattern: string): boolean {
  return (new RegExp(`${pattern}|`).exec("")?.length ?? 1) > 1;
}
