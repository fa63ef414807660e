/**
 * The spool: events that the queue server could not take now, on this machine's disk, until it can.
 *
 * The files, and how processes share them, are those of `producers/spool.py`, which says what each is for: other
 * producers of the same home put events behind ours, and whoever comes first sends them all.
 */

import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  type Stats,
  utimesSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

import { locked, lockedNow, unlock } from "./locks.ts";
import { reason } from "./values.ts";

/** Most bytes, and most events, that are sent at once. */
export const CHUNK_BYTES = 1024 * 1024;
export const CHUNK_EVENTS = 500;
/** After the queue server was found to be away, nobody tries again for this long, ms. */
export const PAUSE_MS = 1000;
/** How often a process flushes what it has appended to the disk, ms. */
const SYNC_MS = 1000;
/** Bytes of the state's file, padded. */
const WIDTH = 128;
const LINE_END = 10;

/** The spool can't take more: the events are not accepted. The message says why. */
export class SpoolFull extends Error {
  constructor(message: string) {
    super(message);
    this.name = "SpoolFull";
  }
}

/** Events to be sent at once: their JSON, how many were sent before, and how many wait behind them. */
export interface Chunk {
  events: string[];
  before: number;
  behind: number;
  lines: number;
  upto: number;
}

interface State {
  id: string;
  sent: number;
  offset: number;
}

/** The spool of one group in one home. It opens its files when it is used. */
export class Spool {
  readonly group: string;
  readonly #folder: string;
  readonly #file: string;
  readonly #most: number;
  #synced = -Infinity;
  /** Settles when all that was appended is on the disk. */
  onDisk: Promise<void> = Promise.resolve();

  constructor(home: string, group: string, mostBytes: number) {
    this.group = group;
    this.#folder = join(home, "spool");
    this.#file = join(this.#folder, `${group}.jsonl`);
    this.#most = mostBytes;
  }

  /** Whether events wait: newer ones go behind them. */
  holdsEvents(): boolean {
    return (known(this.#file)?.size ?? 0) > 0;
  }

  /** Put events, as JSON without line ends, behind those that wait. Throws `SpoolFull`: none of them is accepted. */
  append(events: string[]): void {
    let file: number | undefined;
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      file = openSync(this.#file, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT, 0o600);
      // Shared: appending is one write, so appenders don't mind each other. Only who empties the file does.
      if (!locked(file, "shared")) {
        throw new SpoolFull(`the spool ${this.#file} is locked: another process was stopped in the middle of it`);
      }
      const opened = file;
      const due = this.#write(opened, Buffer.from(events.join("\n") + "\n"));
      unlock(opened);
      if (due) {
        // OpenCode's thread does not wait for the disk.
        file = undefined;
        this.onDisk = new Promise((resolve) => {
          fdatasync(opened, () => {
            closeSync(opened);
            resolve();
          });
        });
      }
    } catch (error) {
      if (error instanceof SpoolFull) throw error;
      throw new SpoolFull(`the spool ${this.#file} can't be written: ${reason(error)}`);
    } finally {
      if (file !== undefined) closeSync(file);
    }
  }

  /** The queue server was found to be away: let nobody try for a while. */
  pause(): void {
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      const away = join(this.#folder, "away");
      closeSync(openSync(away, constants.O_WRONLY | constants.O_CREAT, 0o600));
      const now = new Date();
      utimesSync(away, now, now);
    } catch {
      // Then others try in vain, which costs them a deadline.
    }
  }

  /** Whether the queue server was found to be away a moment ago. */
  paused(): boolean {
    const away = known(join(this.#folder, "away"));
    return away !== undefined && Math.abs(Date.now() - away.mtimeMs) < PAUSE_MS;
  }

  /** The right to send what waits; undefined where another process has it, or nothing waits. Close it afterwards. */
  sending(): Sending | undefined {
    if (!this.holdsEvents()) return undefined;
    const files: number[] = [];
    const open = (name: string, flags: number): number => {
      const file = openSync(join(this.#folder, `${this.group}.${name}`), flags, 0o600);
      files.push(file);
      return file;
    };
    try {
      if (lockedNow(open("lock", constants.O_RDWR | constants.O_CREAT), "exclusive")) {
        const state = open("state", constants.O_RDWR | constants.O_CREAT);
        return new Sending(open("jsonl", constants.O_RDWR), state, files);
      }
    } catch (error) {
      for (const file of files) closeSync(file);
      throw error;
    }
    for (const file of files) closeSync(file);
    return undefined;
  }

  /** Returns whether it is time to flush the file to the disk. */
  #write(file: number, text: Buffer): boolean {
    const size = fstatSync(file).size;
    let waiting = size;
    if (size + text.length > this.#most) waiting -= this.#state().offset;
    if (waiting + text.length > this.#most) {
      throw new SpoolFull(
        `the spool ${this.#file} is full (${this.#most} bytes, MEMLANE_SPOOL_BYTES): start the queue server, ` +
          "then `memlane spool flush`",
      );
    }
    const last = Buffer.alloc(1);
    if (size && readSync(file, last, 0, 1, size - 1) === 1 && last[0] !== LINE_END) {
      // A line that was torn off stays by itself.
      text = Buffer.concat([Buffer.from("\n"), text]);
    }
    if (writeSync(file, text) < text.length) {
      throw new SpoolFull(`the spool ${this.#file} can't be written: the disk is full`);
    }
    if (performance.now() - this.#synced <= SYNC_MS) return false;
    this.#synced = performance.now();
    return true;
  }

  #state(): State {
    try {
      return stateOf(readFileSync(join(this.#folder, `${this.group}.state`)));
    } catch {
      return { id: "", sent: 0, offset: 0 };
    }
  }
}

/** The right to send what waits in a spool, until it is closed. */
export class Sending {
  readonly #file: number;
  readonly #stateFile: number;
  readonly #files: number[];
  readonly #state: State;
  /** Lines that are not yet sent, as far into the file as they were counted. */
  #lines = 0;
  #counted: number;

  constructor(file: number, stateFile: number, files: number[]) {
    this.#file = file;
    this.#stateFile = stateFile;
    this.#files = files;
    this.#state = stateOf(this.#read(stateFile, 0, WIDTH));
    if (!this.#state.id) {
      this.#state.id = randomBytes(8).toString("hex");
      this.#keep();
    }
    if (this.#state.offset > fstatSync(file).size) this.#state.offset = 0;
    this.#counted = this.#state.offset;
  }

  /** Which spool this is. */
  get id(): string {
    return this.#state.id;
  }

  /** The next events to be sent; undefined if all are. */
  next(): Chunk | undefined {
    for (;;) {
      const raw = this.#read(this.#file, this.#state.offset, CHUNK_BYTES);
      const ends = lineEnds(raw).slice(0, CHUNK_EVENTS);
      if (!ends.length) {
        if (this.#emptied()) return undefined;
        continue;
      }
      this.#count();
      const lines = ends.map((end, n) => raw.subarray(n ? (ends[n - 1] ?? 0) + 1 : 0, end).toString("utf8"));
      const events = lines.filter(isEvent);
      const chunk = {
        events,
        before: this.#state.sent,
        behind: this.#lines - lines.length,
        lines: lines.length,
        upto: this.#state.offset + (ends.at(-1) ?? 0) + 1,
      };
      if (events.length) return chunk;
      this.sent(chunk);
    }
  }

  /** The queue server has accepted these. */
  sent(chunk: Chunk): void {
    this.#state.sent += chunk.events.length;
    this.#state.offset = chunk.upto;
    this.#lines -= chunk.lines;
    this.#keep();
  }

  close(): void {
    for (const file of this.#files) closeSync(file);
  }

  /** Count the lines that others have put there meanwhile. */
  #count(): void {
    for (;;) {
      const part = this.#read(this.#file, this.#counted, CHUNK_BYTES);
      if (!part.length) return;
      this.#lines += lineEnds(part).length;
      this.#counted += part.length;
    }
  }

  /** Cut the file to nothing; false if somebody has appended to it. */
  #emptied(): boolean {
    // All is sent; whoever sends next will empty it.
    if (!locked(this.#file, "exclusive")) return true;
    try {
      if (lineEnds(this.#read(this.#file, this.#state.offset, CHUNK_BYTES)).length) return false;
      // In this order: whoever dies in between has everything sent once more, which changes nothing.
      this.#state.offset = 0;
      this.#keep();
      ftruncateSync(this.#file, 0);
      this.#lines = this.#counted = 0;
    } finally {
      unlock(this.#file);
    }
    return true;
  }

  #keep(): void {
    const { id, sent, offset } = this.#state;
    writeSync(this.#stateFile, JSON.stringify([id, sent, offset]).padEnd(WIDTH), 0);
  }

  #read(file: number, offset: number, most: number): Buffer {
    const raw = Buffer.allocUnsafe(most);
    return raw.subarray(0, readSync(file, raw, 0, most, offset));
  }
}

/** What the system says of a file; undefined where there is none, or where it can't be looked at. */
function known(file: string): Stats | undefined {
  try {
    return statSync(file, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

function lineEnds(raw: Buffer): number[] {
  const found: number[] = [];
  for (let end = raw.indexOf(LINE_END); end >= 0; end = raw.indexOf(LINE_END, end + 1)) found.push(end);
  return found;
}

function isEvent(line: string): boolean {
  try {
    const found: unknown = JSON.parse(line);
    return typeof found === "object" && found !== null && !Array.isArray(found);
  } catch {
    return false;
  }
}

function stateOf(raw: Buffer): State {
  try {
    const found: unknown = JSON.parse(raw.toString("utf8"));
    if (Array.isArray(found) && typeof found[0] === "string") {
      return { id: found[0], sent: Number(found[1]), offset: Number(found[2]) };
    }
  } catch {
    // As if nothing had been sent.
  }
  return { id: "", sent: 0, offset: 0 };
}
