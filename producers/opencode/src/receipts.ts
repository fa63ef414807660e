/**
 * Receipts: how many of a group's events the queue server said it has accepted, kept on this machine's disk.
 *
 * The files and their protocol are those of `producers/receipts.py`: other producers of the same home use them too.
 */

import { createHash } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync, readSync, writeSync, constants } from "node:fs";
import { join } from "node:path";

import { locked, unlock } from "./locks.ts";

/** Bytes of a line: `generation count`, padded. */
const WIDTH = 96;
/** Generations that are remembered. */
const MOST_GENERATIONS = 16;

/** `count` events were accepted by the lane in this generation of the server. */
export interface Receipt {
  generation: string;
  count: number;
}

/** The receipts of each group that this home publishes to, by one queue server. */
export class Receipts {
  readonly #folder: string;
  readonly #last = new Map<string, Receipt>();
  readonly #files = new Map<string, number>();

  /** @param address of the server, without its password */
  constructor(home: string, address: string) {
    this.#folder = join(home, "receipts", createHash("sha256").update(address).digest("hex").slice(0, 16));
  }

  /** The receipts of all processes of this home, the newest generation first. */
  onDisk(group: string): Receipt[] {
    try {
      return decoded(readFileSync(join(this.#folder, group)));
    } catch {
      return [];
    }
  }

  /**
   * Keep a new receipt. Never fails.
   *
   * @param reported receipts of earlier generations of which the server was told
   *
   * Returns whether it is kept. If not, there are others on the disk, of generations of which this life of the server
   * may not know: report those, and come again.
   */
  keep(group: string, receipt: Receipt, reported: Receipt[]): boolean {
    const last = this.#last.get(group);
    if (last?.generation === receipt.generation && receipt.count <= last.count) return true;
    let kept = true;
    try {
      kept = this.#write(group, receipt, reported);
    } catch {
      // Where the home can't be written, a receipt lasts as long as this process.
    }
    if (kept) this.#last.set(group, receipt);
    return kept;
  }

  close(): void {
    for (const file of this.#files.values()) closeSync(file);
    this.#files.clear();
  }

  #write(group: string, receipt: Receipt, reported: Receipt[]): boolean {
    const file = this.#file(group);
    if (!locked(file, "exclusive")) return true;
    try {
      const raw = Buffer.alloc(WIDTH * MOST_GENERATIONS);
      const known = decoded(raw.subarray(0, readSync(file, raw, 0, raw.length, 0)));
      const newest = known[0];
      if (newest?.generation === receipt.generation) {
        if (newest.count < receipt.count) writeSync(file, encoded(receipt), 0);
        return true;
      }
      const told = new Set(reported.map(encoded));
      if (!known.every((one) => told.has(encoded(one)))) return false;
      const others = known.filter((one) => one.generation !== receipt.generation);
      const kept = [receipt, ...others].slice(0, MOST_GENERATIONS).map(encoded).join("");
      writeSync(file, kept, 0);
      return true;
    } finally {
      unlock(file);
    }
  }

  #file(group: string): number {
    let file = this.#files.get(group);
    if (file === undefined) {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      file = openSync(join(this.#folder, group), constants.O_RDWR | constants.O_CREAT, 0o600);
      this.#files.set(group, file);
    }
    return file;
  }
}

function encoded({ generation, count }: Receipt): string {
  return `${generation} ${count}`.padEnd(WIDTH - 1) + "\n";
}

function decoded(raw: Buffer): Receipt[] {
  const found: Receipt[] = [];
  for (const line of raw.toString("latin1").split("\n")) {
    const [, generation, count] = /^\s*(\S*) (\d+)\s*$/.exec(line) ?? [];
    if (generation !== undefined && count !== undefined) found.push({ generation, count: Number(count) });
  }
  return found;
}
