/** One rule of memory/privacy/rules.json, and where it matches; memory/privacy/NOTICE.md tells what its fields mean. */

import { type Check, entropy, JUDGED } from "./checks.ts";
import type { Flat } from "./flat.ts";

/** How many characters before a keyword `near` looks at. */
const REACH = 256;
/** What was refused as a value is not looked through again for the same keyword, but for this many last characters. */
const REJECTED = 64;
/** How many characters after the head of a private key must show that it is one. */
const EVIDENCE = 400;

const KEY_BODY = /[A-Za-z0-9+/]{16,80}/g;
const LINE_END = /^[ \t]{0,8}(?:\r?\n|\\{1,4}[nr])/;

/** A text that is searched. */
export interface Searched {
  /** Its characters flat. */
  text: string;
  /** As `lowered`. */
  low: string;
  flat: Flat | null;
}

export interface RuleFields {
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

/** A rule. */
export class Rule {
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

  /** Add where it matches, for a keyword or, if it has none, anywhere; spans may overlap. */
  spans(keyword: string, searched: Searched, found: Span[]): void {
    if (keyword === "") everywhere(this, searched, found);
    else if (searched.low.includes(keyword)) (this.fields.end ? blocks : beside)(this, keyword, searched, found);
  }
}

/** The first match of a pattern from a place on; of a sticky one, that there. */
export function matchFrom(pattern: RegExp, text: string, place: number): RegExpExecArray | null {
  pattern.lastIndex = place;
  return pattern.exec(text);
}

function everywhere(rule: Rule, searched: Searched, found: Span[]): void {
  const { text } = searched;
  let match = matchFrom(rule.pattern, text, 0);
  while (match) {
    const secret = secretOf(match);
    if (holds(rule, secret, match, searched)) found.push(spanOf(rule, secret));
    match = matchFrom(rule.pattern, text, endOf(match));
  }
}

function beside(rule: Rule, keyword: string, searched: Searched, found: Span[]): void {
  const { text, low } = searched;
  const { offset = 0, after_word: words, near } = rule.fields;
  const { pattern } = rule;
  let place = low.indexOf(keyword);
  while (place >= 0) {
    let after = place + 1;
    if (place + offset >= 0 && (!words || follows(words, low, place))) {
      const match = matchFrom(pattern, text, place + offset);
      if (match) {
        const secret = secretOf(match);
        if ((!near || isNear(near, low, place)) && holds(rule, secret, match, searched)) {
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
function blocks(rule: Rule, keyword: string, { text, low }: Searched, found: Span[]): void {
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

function holds(rule: Rule, { value, group }: Secret, match: RegExpExecArray, { text, flat }: Searched): boolean {
  const { distinct = 0, stop = "", entropy: least = 0 } = rule.fields;
  if (distinct > 0 && new Set(value.slice(0, JUDGED)).size < distinct) return false;
  const following = text.charAt(endOf(match));
  if (following !== "" && stop.includes(following)) return false;
  const check = rule.checks[Math.min(group || 1, rule.checks.length) - 1];
  if (check && !check(value, flat ? flat.restored(value) : value)) return false;
  return least === 0 || entropy(value) >= least;
}

function endOf(match: RegExpExecArray): number {
  return match.index + match[0].length;
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
  const found = (dashes >= 0 ? part.slice(0, dashes) : part).match(KEY_BODY) ?? [];
  return found.some((run) => /[0-9]/.test(run));
}

/** The check that a rule names. */
export function known(all: Record<string, Check>, name: string): Check {
  const check = all[name];
  if (!check) throw new Error(`rules.json names the check ${name}, which there is not`);
  return check;
}

function hasGroups(pattern: string): boolean {
  return (new RegExp(`${pattern}|`).exec("")?.length ?? 1) > 1;
}
