/** The text in lower case, and long runs of certain characters in it: what the rules' prefilter looks through. */

const NOT_ASCII = /[^\0-\x7f]/;
const QUESTION_MARK = 63;

/**
 * The text in lower case, as ASCII and of the same length, so that places in one are places in the other. What is not
 * ASCII is `?`.
 */
export function lowered(text: string): string {
  if (!NOT_ASCII.test(text)) return text.toLowerCase();
  const bytes = Buffer.allocUnsafe(text.length);
  for (let place = 0; place < text.length; place++) {
    const code = text.charCodeAt(place);
    bytes[place] = code < 128 ? code : QUESTION_MARK;
  }
  return bytes.toString("latin1").toLowerCase();
}

/**
 * Runs of at least `least` of the characters that are 1 in `wanted`, by ASCII code. Where there are none, only one
 * character in `least` is looked at.
 */
export function runs(low: string, wanted: Uint8Array, least: number): string[] {
  const found: string[] = [];
  let start = 0;
  while (start + least <= low.length) {
    let place = start + least - 1;
    while (place >= start && wanted[low.charCodeAt(place)] === 1) place--;
    if (place >= start) {
      start = place + 1;
      continue;
    }
    let end = start + least;
    while (end < low.length && wanted[low.charCodeAt(end)] === 1) end++;
    found.push(low.slice(start, end));
    start = end + 1;
  }
  return found;
}

/** A table of ASCII in which the given characters are 1. */
export function characters(wanted: RegExp): Uint8Array {
  return Uint8Array.from({ length: 128 }, (_, code) => (wanted.test(String.fromCharCode(code)) ? 1 : 0));
}
