/** Locks between the processes of a home, as `producers/locks.py` takes them: flock(2), which nobody waits long for. */

import { dlopen } from "bun:ffi";

const SHARED = 1;
const EXCLUSIVE = 2;
const AT_ONCE = 4;
const UNLOCK = 8;

/** How long a lock is tried for, ms, and the pause between two tries. */
const LOCK_MS = 5;
const PAUSE_MS = 0.2;

/** Where flock(2) is, on Linux (GNU, musl) and macOS. */
const LIBRARIES = ["libc.so.6", "libc.so", "libSystem.B.dylib"];

/** No flock(2) on this machine. */
export class LocksMissing extends Error {
  constructor() {
    super("this system has no flock: events can't be spooled");
    this.name = "LocksMissing";
  }
}

type Flock = (file: number, how: number) => number;

let found: Flock | undefined;

function flock(): Flock {
  for (const library of found ? [] : LIBRARIES) {
    try {
      found = dlopen(library, { flock: { args: ["i32", "i32"], returns: "i32" } }).symbols.flock;
      break;
    } catch {
      continue;
    }
  }
  if (!found) throw new LocksMissing();
  return found;
}

/** Take a lock on an open file, unless others keep it for longer than a moment. */
export function locked(file: number, how: "shared" | "exclusive"): boolean {
  const end = performance.now() + LOCK_MS;
  while (!lockedNow(file, how)) {
    if (performance.now() > end) return false;
    Bun.sleepSync(PAUSE_MS);
  }
  return true;
}

/** Take a lock on an open file, if it is free now. */
export function lockedNow(file: number, how: "shared" | "exclusive"): boolean {
  return flock()(file, (how === "shared" ? SHARED : EXCLUSIVE) | AT_ONCE) === 0;
}

export function unlock(file: number): void {
  flock()(file, UNLOCK);
}
