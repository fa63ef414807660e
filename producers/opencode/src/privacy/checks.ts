/**
 * What tells a secret from a word, a name, a path or a reference, where a rule's pattern alone can't.
 *
 * The same as memory/privacy/checks.py, which is the reference.
 */

/** Pieces of which names are put together: `getUserToken2` has four. */
const PIECES = /[A-Z]?[a-z]+|[A-Z]+|[0-9]+/g;
const DIGIT_RUNS = /[0-9]+/g;
const ALL_DIGITS = /^[0-9]+$/;
const ALL_HEX = /^[0-9a-fA-F]+$/;
const PATH = /^(?:~?[./\\]|[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*:\/\/)/;
const CALL = /[A-Za-z_.][A-Za-z0-9_.]*[([]/;
const CALL_AT_START = /^[A-Za-z_.][A-Za-z0-9_.]*[([]/;
const DOTTED = /^[A-Za-z_$][A-Za-z0-9_]*(?:\??\.[A-Za-z_$][A-Za-z0-9_]*)+$/;
const SLASHED = /^[A-Za-z0-9_.-]+(?:\/[A-Za-z0-9_.@-]+)+\/?$/;
const VARIABLE = /^\$[A-Za-z_][A-Za-z0-9_]*$/;
/** What passwords that people must make hold, one of each. */
const STRONG = [/[a-z]/, /[A-Z]/, /[0-9]/, /[!@#$%^&*+=?~]/];
const LETTER = /[A-Za-z\u0080-\uffff]/;
const DIGIT_OR_STRONG = /[0-9!@#$%^&*+=?~]/;
const SPACE = /[ \t\r\n]/;
const NOT_SPACE = /[^ \t\r\n]/;
const LETTERS = /^\p{L}+$/u;
/** What Python takes for white space. */
const WHITE_SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;
const ISSUERS =
  /^(?:4[0-9]{15}|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}|3[47][0-9]{13}|6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12}|35(?:2[89]|[3-8][0-9])[0-9]{12})$/;

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Placeholders are shorter than this many characters. */
const LONGEST_PLACEHOLDER = 80;
/** From this many letters and digits on, chance makes pieces no longer than words would be. */
const LONG = 12;
/** Characters by which a value is judged; more would cost time and change nothing. */
export const JUDGED = 256;
/** What stands in values that are no secrets: they have been dealt with, or tell where the value is. */
const NOT_GIVEN = ["[redacted:", "[private]", "${", "$(", "{{"];

/** Whether a value, its characters flat (see flat.ts), is a secret. */
export type Check = (value: string, original: string) => boolean;

/** Checks of a value by name; what counts as placeholder and as identifier is in rules.json. */
export function checks(
  placeholders: readonly string[],
  words: readonly string[],
  identifiers: readonly string[],
): Record<string, Check> {
  const placeholder = new RegExp(`^(?:${placeholders.join("|")})$`, "i");
  const identifier = new RegExp(`^(?:${identifiers.join("|")})$`);

  /** Whether a value stands here at all: not a placeholder, not a reference to where the value is. */
  function given(value: string): boolean {
    if (!NOT_SPACE.test(value) || NOT_GIVEN.some((mark) => value.includes(mark))) return false;
    if (VARIABLE.test(value) && !mixed(value)) return false;
    if (value.length >= LONGEST_PLACEHOLDER) return true;
    const low = value.toLowerCase();
    return !words.some((word) => low.includes(word)) && !placeholder.test(value);
  }

  /** Whether it is a value rather than a word, a sentence, a name, a path, an identifier or a piece of code. */
  function literal(value: string): boolean {
    if (!LETTER.test(value) || !DIGIT_OR_STRONG.test(value) || SPACE.test(value) || !given(value)) return false;
    if (identifier.test(value) || PATH.test(value) || CALL_AT_START.test(value)) return false;
    return (!DOTTED.test(value) && !SLASHED.test(value)) || mixed(value);
  }

  /** As `literal`, or at least four digits and nothing else. */
  function password(value: string): boolean {
    return literal(value) || (value.length >= 4 && ALL_DIGITS.test(value) && given(value));
  }

  /** As `literal`, and not put together of words as names are. */
  function random(value: string, original: string): boolean {
    if (!literal(value)) return LETTERS.test(original) && mixed(value) && given(value);
    return mixed(value) || (STRONG.every((kind) => kind.test(value)) && !CALL.test(value));
  }

  return {
    given,
    literal,
    password,
    random,
    /** As `literal`, or random letters alone. */
    opaque: (value, original) => literal(value) || random(value, original),
    /** For the value of a key whose name says that it is a secret. */
    whole(value, original) {
      if (value.length < 6 || !given(value) || identifier.test(value)) return false;
      if (literal(value)) return true;
      const originals = original.split(WHITE_SPACE);
      return value.split(WHITE_SPACE).some((word, place) => word !== "" && random(word, originals[place] ?? word));
    },
    mixed,
    basic,
    luhn,
  };
}

/** Whether letters of both cases and digits alternate as in random text, not as in names made of words. */
function mixed(whole: string): boolean {
  const value = whole.slice(0, JUDGED);
  const pieces = value.match(PIECES) ?? [];
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const digits = value.match(DIGIT_RUNS)?.length ?? 0;
  if (digits >= 3 && length >= 8 && pieces.length > digits) return true;
  if (digits > 0) {
    if (pieces.length >= 4 && length < (length < LONG ? 2.7 : 3.4) * pieces.length) return true;
    return value.length >= 32 && ALL_HEX.test(value);
  }
  return length >= 12 && length < 2.4 * pieces.length;
}

/** Whether it is `name:password` in base64. */
function basic(value: string): boolean {
  const text = value.replaceAll("-", "+").replaceAll("_", "/").replace(/=+$/, "");
  const raw = /[^\0-\x7f]/.test(text) ? null : decoded(text, (4 - (text.length % 4)) % 4);
  if (!raw) return false;
  const colon = raw.indexOf(58);
  return colon >= 0 && colon < raw.length - 1 && raw.every((byte) => byte >= 32 && byte !== 127);
}

/**
 * Base64 decoded as Python's `binascii` does: what is none is skipped, padding ends it, and some must be there if bits
 * are left over.
 */
function decoded(text: string, padding: number): number[] | null {
  const bytes: number[] = [];
  let [place, left, pads] = [0, 0, 0];
  for (const character of text + "=".repeat(padding)) {
    if (character === "=") {
      if (place >= 2 && place + ++pads >= 4) return bytes;
      continue;
    }
    const digit = BASE64.indexOf(character);
    if (digit < 0) continue;
    pads = 0;
    // Of four digits, the first gives no byte yet; each leaves two bits fewer for the next.
    const rest = 6 - 2 * place;
    if (place > 0) bytes.push(((left << (2 * place)) | (digit >> rest)) & 255);
    left = digit & ((1 << rest) - 1);
    place = (place + 1) % 4;
  }
  return place === 0 ? bytes : null;
}

/** Whether it is a card number: an issuer's prefix and length, and the check digit. */
function luhn(value: string): boolean {
  const digits = value.replace(/[ -]/g, "");
  if (!ISSUERS.test(digits)) return false;
  let total = 0;
  for (let place = 0; place < digits.length; place++) {
    const number = Number(digits[digits.length - 1 - place]);
    total += place % 2 === 0 ? number : number > 4 ? number * 2 - 9 : number * 2;
  }
  return total % 10 === 0;
}

/** Shannon entropy, in bits a character. */
export function entropy(whole: string): number {
  const value = whole.slice(0, JUDGED);
  const counts = new Map<string, number>();
  for (let place = 0; place < value.length; place++) {
    const character = value.charAt(place);
    counts.set(character, (counts.get(character) ?? 0) + 1);
  }
  let sum = 0;
  for (const count of counts.values()) sum += (count / value.length) * Math.log2(count / value.length);
  return -sum;
}
