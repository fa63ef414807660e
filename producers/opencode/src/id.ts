/** Ids of events. Vectors for all languages: tests/vectors/ids.json. */

import { createHash, randomFillSync } from "node:crypto";

const BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LONE_SURROGATE = /[\ud800-\udfff]/gu;

/**
 * Id of an event for which the agent has an id of its own, so that a live event and its later import are one:
 * 26 characters, the first 128 bits of the SHA-256 of `source:session:type:native[:status]`, in base32.
 */
export function nativeId(source: string, session: string, type: string, native: string, status?: string): string {
  const parts = [source, session, type, native];
  if (status !== undefined) parts.push(status);
  return base32(sha256(parts.join(":")).subarray(0, 16));
}

/** Native id of a todo list for which no call of `todowrite` is known. */
export function nativeOfTodos(todos: readonly { content: string; status: string; priority: string }[]): string {
  const rows = todos.map((todo) => [todo.content, todo.status, todo.priority]);
  return `todos.${sha256(JSON.stringify(rows)).toString("hex")}`;
}

/** A new id, unique and sorted by time. Source: https://github.com/ulid/spec */
export function ulid(now: number = Date.now()): string {
  const random = randomFillSync(new Uint8Array(16));
  let time = now;
  let id = "";
  for (let place = 0; place < 10; place++) {
    id = CROCKFORD.charAt(time % 32) + id;
    time = Math.floor(time / 32);
  }
  for (const byte of random) id += CROCKFORD.charAt(byte % 32);
  return id;
}

/** As Python has it, half a surrogate pair is `?`. */
function sha256(text: string): Buffer {
  return createHash("sha256").update(text.replace(LONE_SURROGATE, "?"), "utf8").digest();
}

/** Without padding. */
function base32(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += BASE32.charAt((held >> bits) & 31);
    }
    held &= (1 << bits) - 1;
  }
  return bits > 0 ? text + BASE32.charAt((held << (5 - bits)) & 31) : text;
}
