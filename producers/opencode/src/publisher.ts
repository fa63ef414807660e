/**
 * Publishing: events into their group's lane, in order, by one flight after the other. Who captures only queues, so no
 * hook waits. What the queue server has not accepted within the deadline goes into the spool of the home, and from
 * there into the lane later, in order: with the next events, or after a while by itself.
 */

import { existsSync } from "node:fs";

import { queueUrl, withoutPassword } from "./address.ts";
import { pause } from "./deadline.ts";
import { encode, type Draft, type Encoded } from "./draft.ts";
import type { Log } from "./log.ts";
import { Receipts, type Receipt } from "./receipts.ts";
import { PREFIX, publishing, run, type Call } from "./scripts.ts";
import { CHUNK_BYTES, CHUNK_EVENTS, PAUSE_MS, Spool } from "./spool.ts";
import { Connection, type Send } from "./valkey.ts";
import { reason } from "./values.ts";

/** How long events are gathered before they go, ms. */
const GATHER_MS = 2;
/** Share of the deadline that the queue server may take; the rest is for the spool. */
const SERVER_SHARE = 0.8;
/** Most events that wait in memory, should the disk and the server both be too slow. */
const MOST_QUEUED = 10_000;
/** How long sending what waits in the spool may take, ms: nobody waits for it. */
const FLUSH_MS = 2000;
/** Longest pause between two tries to send what waits in the spool, ms. */
const MOST_PAUSE_MS = 30_000;

/** The lane or the server's memory is over its mark. */
class QueueFull extends Error {}

/** What the publisher is told: see `options.ts`. */
export interface PublisherOptions {
  home: string;
  valkeyUrl: string | undefined;
  publishDeadlineMs: number;
  spoolBytes: number;
}

interface Server {
  connection: Connection;
  receipts: Receipts;
  address: string;
}

export class Publisher {
  readonly #options: PublisherOptions;
  readonly #log: Log;
  readonly #spools = new Map<string, Spool>();
  #server: Server | undefined;
  #queued: Draft[] = [];
  #flight: Promise<void> | undefined;
  #closed = false;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #retryMs = PAUSE_MS;
  /** Whether a flight begins when the connection that is being made is there, or can't be made. */
  #awaited = false;
  /** Whether the server took the last events; undefined before the first. */
  #away: boolean | undefined;
  /** Events that went to the server, into the spool, and nowhere. */
  readonly counts = { sent: 0, spooled: 0, lost: 0 };

  constructor(options: PublisherOptions, log: Log) {
    this.#options = options;
    this.#log = log;
  }

  /** Queue an event. Never fails, never waits. */
  publish(draft: Draft): void {
    if (this.#queued.length >= MOST_QUEUED) {
      this.#lose(1, "too many wait");
      return;
    }
    this.#queued.push(draft);
    this.#flight ??= this.#fly();
  }

  /** Send what earlier processes left in the spool of a group, and open the connection before it is needed. */
  begin(group: string): void {
    this.#spool(group);
    this.#flight ??= this.#fly();
  }

  /** Wait until all that was queued is in the lane or in the spool. */
  async settled(): Promise<void> {
    while (this.#flight) await this.#flight;
    for (const spool of this.#spools.values()) await spool.onDisk;
  }

  /** Publish what is queued, and let go of everything. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#flight ??= this.#fly();
    await this.settled();
    this.#server?.connection.close();
    this.#server?.receipts.close();
    this.#server = undefined;
  }

  async #fly(): Promise<void> {
    try {
      // Also at the end: `dispose` comes right behind the last events.
      await pause(GATHER_MS);
      this.#awaited = false;
      do {
        const drafts = this.#queued;
        this.#queued = [];
        for (const call of callsOf(await this.#encoded(drafts))) await this.#deliver(call);
      } while (this.#queued.length);
      for (const spool of this.#spools.values()) {
        if (spool.holdsEvents() && (this.#closed || !spool.paused())) await this.#flush(spool);
      }
    } catch (error) {
      this.#log.error("publishing failed", error);
    } finally {
      this.#flight = this.#queued.length ? this.#fly() : undefined;
      this.#later();
    }
  }

  async #encoded(drafts: Draft[]): Promise<Encoded[]> {
    const found: Encoded[] = [];
    for (const draft of drafts) {
      try {
        found.push(encode(draft));
      } catch (error) {
        this.#log.error(`an event of type ${draft.type} is refused`, error);
        await this.#countRefused(draft.group);
      }
    }
    return found;
  }

  /** One call to the lane, or behind what waits in the spool. */
  async #deliver(call: Call): Promise<void> {
    if (!this.#options.valkeyUrl && !existsSync(this.#options.home)) {
      // There has never been a queue server here, so nobody would ever send what is spooled.
      this.#lose(call.events.length, "no Memlane has ever run here: `memlane up`, or set MEMLANE_VALKEY_URL");
      return;
    }
    const spool = this.#spool(call.group);
    if (!spool.holdsEvents()) {
      if (spool.paused()) {
        this.#putBehind(spool, call);
        return;
      }
      try {
        await this.#publish(call, this.#options.publishDeadlineMs * SERVER_SHARE);
        this.counts.sent += call.events.length;
      } catch (error) {
        this.#pausing(spool, error);
        this.#putBehind(spool, call);
      }
      return;
    }
    this.#putBehind(spool, call);
  }

  #putBehind(spool: Spool, call: Call): void {
    try {
      spool.append(call.events);
      this.counts.spooled += call.events.length;
    } catch (error) {
      this.#lose(call.events.length, reason(error));
    }
  }

  #lose(events: number, why: string): void {
    if (!this.counts.lost) this.#log.error("events are not captured", why);
    this.counts.lost += events;
  }

  /** Send what waits in a spool, unless another process does. */
  async #flush(spool: Spool): Promise<void> {
    const end = performance.now() + FLUSH_MS;
    const ms = this.#options.publishDeadlineMs;
    let sent = 0;
    try {
      const sending = spool.sending();
      if (!sending) return;
      try {
        for (let chunk = sending.next(); chunk; chunk = sending.next()) {
          // The end of OpenCode waits for one call, not for all that was left by others.
          if (sent && (this.#closed || performance.now() > end)) return;
          const origin = { spool: sending.id, before: chunk.before, behind: chunk.behind };
          await this.#publish(
            { group: spool.group, events: chunk.events, written: written(chunk.events), origin },
            sent ? 4 * ms : ms,
          );
          sending.sent(chunk);
          sent += chunk.events.length;
        }
      } finally {
        sending.close();
      }
    } catch (error) {
      this.#pausing(spool, error);
    } finally {
      if (sent) this.#log.info(`${sent} events that waited in the spool are sent`);
    }
  }

  /** One round trip. Throws why the events are not accepted. */
  async #publish(call: Call, ms: number): Promise<void> {
    const server = this.#known();
    await server.connection.exchange(ms, async (send) => {
      const receipt = receiptOf(await run(send, "publish", ...publishing(call)));
      let known: Receipt[] = [];
      while (!server.receipts.keep(call.group, receipt, known)) {
        known = server.receipts.onDisk(call.group);
        for (const earlier of known) await report(send, call.group, earlier);
      }
    });
    if (this.#away !== false) this.#log.info(`connected to the queue server at ${server.address}`);
    this.#away = false;
    this.#retryMs = PAUSE_MS;
  }

  /** The server could not take what it was given: nobody tries again at once. */
  #pausing(spool: Spool, error: unknown): void {
    const connecting = this.#server?.connection.connecting;
    if (connecting) {
      // It is not known to be away yet: what waits is sent as soon as there is a connection.
      const go = (): void => {
        if (!this.#closed) this.#flight ??= this.#fly();
      };
      if (!this.#awaited) connecting.then(go, go);
      this.#awaited = true;
      return;
    }
    if (this.#away !== true) this.#log.warn("the queue server can't be used, events are spooled", error);
    this.#away = true;
    spool.pause();
    // It may have been started anew, elsewhere.
    const url = queueUrl(this.#options.valkeyUrl, this.#options.home);
    if (this.#server && url && url !== this.#server.connection.url) {
      this.#server.connection.close();
      this.#server.receipts.close();
      this.#server = undefined;
    }
  }

  /** Try again by itself, more and more rarely, as long as events wait. */
  #later(): void {
    if (this.#closed || this.#flight || this.#retry) return;
    if (![...this.#spools.values()].some((spool) => spool.holdsEvents())) return;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.#retryMs = Math.min(2 * this.#retryMs, MOST_PAUSE_MS);
      this.#flight ??= this.#fly();
    }, this.#retryMs + 50);
    this.#retry.unref();
  }

  /** The server, looked up where it is not known. Throws if none is. */
  #known(): Server {
    if (!this.#server) {
      const url = queueUrl(this.#options.valkeyUrl, this.#options.home);
      if (!url) throw new Error(`no queue server: start one with \`memlane up\` (home ${this.#options.home})`);
      const address = withoutPassword(url);
      this.#server = { connection: new Connection(url), receipts: new Receipts(this.#options.home, address), address };
    }
    return this.#server;
  }

  /** Refused events are counted, so that the books show them. */
  async #countRefused(group: string): Promise<void> {
    try {
      await this.#known().connection.exchange(this.#options.publishDeadlineMs * SERVER_SHARE, async (send) => {
        await send("HINCRBY", `${PREFIX}captured:${group}`, "refused", 1);
        await send("SADD", `${PREFIX}groups`, group);
      });
    } catch (error) {
      this.#log.warn("a refused event is not counted", error);
    }
  }

  #spool(group: string): Spool {
    let spool = this.#spools.get(group);
    if (!spool) {
      spool = new Spool(this.#options.home, group, this.#options.spoolBytes);
      this.#spools.set(group, spool);
    }
    return spool;
  }
}

/** Events of one group that follow each other go together, up to what one call may hold. */
function* callsOf(found: Encoded[]): Generator<Call> {
  let call: Call | undefined;
  let bytes = 0;
  for (const { group, json, written } of found) {
    const size = Buffer.byteLength(json);
    if (call && (call.group !== group || call.events.length >= CHUNK_EVENTS || bytes + size > CHUNK_BYTES)) {
      yield call;
      call = undefined;
    }
    if (!call) {
      call = { group, events: [], written: [] };
      bytes = 0;
    }
    call.events.push(json);
    for (const path of written) if (!call.written.includes(path)) call.written.push(path);
    bytes += size;
  }
  if (call) yield call;
}

/** Paths that events from a spool write to. */
function written(events: string[]): string[] {
  const paths = new Set<string>();
  for (const json of events) {
    if (!json.includes('"file.write"')) continue;
    const event = JSON.parse(json) as { type?: unknown; data?: { path?: unknown; paths?: unknown } };
    if (event.type !== "file.write") continue;
    const found = [event.data?.path, ...(Array.isArray(event.data?.paths) ? (event.data.paths as unknown[]) : [])];
    for (const path of found) if (typeof path === "string" && path) paths.add(path);
  }
  return [...paths];
}

/** What the server answered to publish.lua. Throws if that is no acceptance. */
function receiptOf(answer: unknown): Receipt {
  if (Array.isArray(answer)) {
    const [word, generation, count] = answer as unknown[];
    if (word === "ok" && typeof generation === "string" && typeof count === "number" && answer.length === 3) {
      return { generation, count };
    }
    if (word === "full lane" || word === "full memory") {
      throw new QueueFull(`${word === "full lane" ? "the lane" : "the queue server's memory"} is over its mark`);
    }
  }
  throw new Error("what answers is no queue server of Memlane's");
}

/** Tell of a receipt: see report.lua. */
async function report(send: Send, group: string, { generation, count }: Receipt): Promise<void> {
  const keys = [`${PREFIX}captured:${group}`, `${PREFIX}spools:${group}`, `${PREFIX}bell`];
  await run(send, "report", keys, [group, generation, count, "", 0]);
}
