/**
 * Texts in which each character is one unit of a JavaScript string, as patterns and limits count them in Python.
 *
 * Beyond the first 65,536 characters of Unicode (emoji, say) JavaScript needs two units for each. While a text is
 * searched, these characters are stood in for by others that don't occur in it: each by one of its own.
 */

const SURROGATE = /[\ud800-\udfff]/;
const PAIR = /[\ud800-\udbff][\udc00-\udfff]/g;
/** Where stand-ins are taken from: private use first, then letters without case. */
const STAND_INS = [
  [0xe000, 0xf8ff],
  [0x3400, 0x9fff],
  [0xac00, 0xd7a3],
] as const;

/** A text in which each character is one unit, and how to get the original ones back. */
export interface Flat {
  text: string;
  restored: (part: string) => string;
}

/** Null where a text is flat as it is. */
export function flattened(text: string): Flat | null {
  if (!SURROGATE.test(text)) return null;
  const unused = standIns(new Set(text));
  const byPair = new Map<string, string>();
  const byStandIn = new Map<string, string>();
  const flat = text.replace(PAIR, (pair) => {
    let found = byPair.get(pair);
    if (found === undefined) {
      // In the end there are none left; then the pair counts as two.
      found = unused.next().value ?? pair;
      byPair.set(pair, found);
      byStandIn.set(found, pair);
    }
    return found;
  });
  if (byPair.size === 0) return null;
  return {
    text: flat,
    restored: (part) => Array.from(part, (character) => byStandIn.get(character) ?? character).join(""),
  };
}

function* standIns(used: Set<string>): Generator<string, undefined> {
  for (const [first, last] of STAND_INS)
    for (let code = first; code <= last; code++) {
      const character = String.fromCharCode(code);
      if (!used.has(character)) yield character;
    }
}
