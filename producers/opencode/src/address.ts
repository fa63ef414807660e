/** Where the queue server is: as configured, else what a running `memlane up` wrote into its home (`address.py`). */

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { asFields } from "./values.ts";

const SCHEMES = new Set(["redis:", "rediss:", "unix:"]);

/** URL of the queue server, password included; undefined where none is known. */
export function queueUrl(given: string | undefined, home: string): string | undefined {
  if (given) return given;
  try {
    const stack = asFields(JSON.parse(readFileSync(join(home, "run", "stack.json"), "utf8")));
    // Of the stack's users, the one that may publish and ask, and nothing else.
    const url = stack.producer_url ?? stack.valkey_url;
    return typeof url === "string" ? url : undefined;
  } catch {
    return undefined;
  }
}

/** The URL as it may stand in a message, and as receipts go by; of one that can't be understood, `…`. */
export function withoutPassword(url: string): string {
  const parts = understood(url);
  if (!parts) return "…";
  const authority = /^[a-z]+:\/\/([^/?#]*)/.exec(url)?.[1] ?? "";
  return `${parts.protocol}//${authority.slice(authority.lastIndexOf("@") + 1)}${parts.pathname}`;
}

/** The URL's parts, if it says unmistakably which of them is a password. */
export function understood(url: string): URL | undefined {
  try {
    // A socket has no host, which JavaScript wants beside a password.
    const parts = new URL(url.replace(/^(unix:\/\/[^/?#]*@)\//, "$1localhost/"));
    if (!SCHEMES.has(parts.protocol) || parts.hash || (parts.pathname + parts.search).includes("@")) return undefined;
    return parts;
  } catch {
    return undefined;
  }
}
