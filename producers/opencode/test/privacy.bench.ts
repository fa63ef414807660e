/** Microseconds that the privacy rules take for texts and values that come as lines of JSON; see bench/privacy.py. */

import { redact, redactText } from "../src/privacy.ts";

const ROUNDS = 7;

/** The least, over some rounds, of the processor time that one call takes, in µs: others share the machine. */
function microseconds(call: () => unknown, times: number): number {
  call();
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.cpuUsage();
    for (let count = 0; count < times; count++) call();
    const { user, system } = process.cpuUsage(start);
    best = Math.min(best, (user + system) / times);
  }
  return best;
}

const found = (await Bun.stdin.text())
  .split("\n")
  .filter((line) => line !== "")
  .map((line) => JSON.parse(line) as { value: unknown; times: number })
  .map(({ value, times }) =>
    microseconds(typeof value === "string" ? () => redactText(value) : () => redact(value), times),
  );
await Bun.write(Bun.stdout, JSON.stringify(found));
