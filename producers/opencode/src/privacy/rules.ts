/**
 * The rules of memory/privacy/rules.json, and which of them may match in a text. The same as memory/privacy/rules.py.
 *
 * Speed comes from looking for literal keywords first, and trying a rule's pattern only where one of its keywords
 * stands. Keywords of `long` rules are looked for in long runs of letters and digits only, which are rare in text.
 */

import { type Check, checks } from "./checks.ts";
import { known, matchFrom, Rule, type RuleFields, type Searched, type Span } from "./rule.ts";
import { characters, runs } from "./runs.ts";

/** From this length on, a run is searched by `long` rules without a keyword. */
const LONGEST = 50;
/** From so many on, longer keywords are looked for around the one that they hold; fewer, in the whole text. */
const SEVERAL = 3;
/** Least length of a run in which the keywords of `long` rules are looked for. */
const RUN = 20;
const RUN_CHARACTERS = characters(/[a-z0-9_.~-]/);
/** Length of the shortest of `CARDS`. */
const CARD = 14;
const CARD_CHARACTERS = characters(/[0-9 -]/);
/** What a text with a card number holds. */
const CARDS = /[0-9]{14}|[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4}/;
/** rules.json. */
export interface RuleFile {
  placeholders: string[];
  placeholder_words: string[];
  identifiers: string[];
  names: { label: string; pattern: string; check: string }[];
  rules: RuleFields[];
}

/** A rule that may match in a text, and the keyword for which it may; empty if it has none. */
export type Active = readonly [rule: Rule, keyword: string];

/** A key whose name says that its value is secret. */
export interface Name {
  label: string;
  check: Check;
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

  /** Rules that may match in a text. */
  active({ text, low }: Searched): Active[] {
    const found: Active[] = [];
    if (runs(low, CARD_CHARACTERS, CARD).some((run) => CARDS.test(run)))
      for (const rule of this.#digits) found.push([rule, ""]);
    for (const [keyword, longer] of this.#keywords) {
      if (!low.includes(keyword)) continue;
      this.#add(found, this.#inText, keyword);
      const nearby =
        longer.length >= SEVERAL ? around(low, keyword, Math.max(...longer.map((word) => word.length))) : low;
      for (const other of longer) if (nearby.includes(other)) this.#add(found, this.#inText, other);
    }
    const long = runs(low, RUN_CHARACTERS, RUN);
    if (long.length === 0) return found;
    const joined = long.join(" ");
    for (const keyword of this.#inRuns.keys()) if (joined.includes(keyword)) this.#add(found, this.#inRuns, keyword);
    if (long.some((run) => run.length >= LONGEST))
      for (const rule of this.#runs) if (matchFrom(rule.pattern, text, 0)) found.push([rule, ""]);
    return found;
  }

  /** Where the rules match in a text; spans may overlap. */
  spans(searched: Searched, active: readonly Active[]): Span[] {
    const found: Span[] = [];
    for (const [rule, keyword] of active) rule.spans(keyword, searched, found);
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
