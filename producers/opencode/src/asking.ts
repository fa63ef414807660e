/**
 * Asking: questions to a group's memory, answered from the cache or by a worker over the queue; and the brief that
 * workers keep of a session. Nothing here waits longer than it is told.
 */

import { createHash, randomBytes } from "node:crypto";

import { queueUrl } from "./address.ts";
import { redact } from "./privacy.ts";
import { BELL, PREFIX, run } from "./scripts.ts";
import { Connection, type Send } from "./valkey.ts";
import { asFields, asList, asText, type Fields } from "./values.ts";

/** After this many ms without an answer, another worker may try. */
const FILLING_MS = 5000;
/** How long one wait for a reply lasts, s, before it is looked again. */
const WAIT_SECONDS = 1;
/** A larger answer is none of Memlane's. */
const MOST_CHARACTERS = 1024 * 1024;
/** Connections that are kept for the next question. */
const MOST_IDLE = 4;

/** Nobody answered, or what was answered says why not. The message says what to do. */
export class NoAnswer extends Error {
  constructor(message: string) {
    super(message);
    this.name = "NoAnswer";
  }
}

/** What a group's memory holds on a question. */
export interface Recalled {
  /** Text to give to an agent; empty if nothing is known. */
  context: string;
  cache: "hit" | "miss";
}

/** What a tool shows. */
export interface Shown {
  text: string;
}

export class Asker {
  readonly #home: string;
  readonly #url: string | undefined;
  #idle: Connection[] = [];

  constructor(home: string, url: string | undefined) {
    this.#home = home;
    this.#url = url;
  }

  /**
   * What memory holds on a question; white space is folded.
   *
   * Throws `NoAnswer`, `Late`, or why the server can't be used.
   */
  async recall(
    group: string,
    text: string,
    options: { tokens?: number | undefined; paths?: string[]; ms: number },
  ): Promise<Recalled> {
    const question = encoded(group, text, options.paths ?? [], options.tokens);
    const digest = createHash("sha256").update(question).digest("hex");
    const id = randomBytes(16).toString("hex");
    const keys = [`context:${group}:${digest}`, `recall:${group}`, `filling:${group}:${digest}`, `ask:${id}`, "bell"];
    const look = async (send: Send, counted: boolean): Promise<[unknown, unknown, unknown]> => {
      const given = [`${PREFIX}dropped:${group}:`, id, question, FILLING_MS, counted ? 1 : 0];
      const [kind, value, now] = asList(
        await run(
          send,
          "recall",
          keys.map((key) => PREFIX + key),
          given,
        ),
      );
      return [kind, value, now];
    };
    return await this.#exchange(options.ms, async (send) => {
      let asked = 0;
      for (;;) {
        const [kind, value, now] = await look(send, asked > 0);
        if (kind === "hit") return { context: contextOf(value), cache: asked ? "miss" : "hit" };
        if (kind !== "miss" || !/^[0-9a-f]{1,64}$/.test(asText(value)))
          throw new NoAnswer("no queue server of Memlane's");
        asked ||= Number(now);
        const found = await replyTo(send, asText(value));
        if (found === undefined) continue;
        const answer = answerOf(found);
        // An answer that was begun before this question was asked may lack an edit that the asker knows of.
        if (Number(answer.started) >= asked) return { context: contextOf(found), cache: "miss" };
      }
    });
  }

  /** What a tool shows of a group's history. Throws as `recall`. */
  async ask(
    group: string,
    tool: string,
    args: Fields,
    who: { session: string; project: string; ms: number },
  ): Promise<Shown> {
    const asked = redact({ group, tool, args, session: who.session, project: who.project });
    const id = randomBytes(16).toString("hex");
    return await this.#exchange(who.ms, async (send) => {
      for (;;) {
        await run(send, "ask", [`${PREFIX}ask:${id}`, BELL], [id, JSON.stringify(asked), Math.ceil(who.ms / 1000)]);
        const found = await replyTo(send, id);
        if (found !== undefined) return { text: asText(answerOf(found).text) };
      }
    });
  }

  /** What a session must still know after a compaction, as workers keep it; empty where there is nothing. */
  async brief(session: string, ms: number): Promise<string> {
    const found = await this.#exchange(ms, (send) => send("GET", `${PREFIX}brief:${session}`));
    return typeof found === "string" && found.length <= MOST_CHARACTERS ? found : "";
  }

  close(): void {
    for (const connection of this.#idle) connection.close();
    this.#idle = [];
  }

  /** Waiting for a reply blocks a connection, so that each question has one of its own. */
  async #exchange<Value>(ms: number, work: (send: Send) => Promise<Value>): Promise<Value> {
    const url = queueUrl(this.#url, this.#home);
    if (!url) throw new NoAnswer(`no queue server: start one with \`memlane up\` (home ${this.#home})`);
    const idle = this.#idle.pop();
    const connection = idle?.url === url ? idle : new Connection(url);
    if (idle && idle !== connection) idle.close();
    const value = await connection.exchange(ms, work);
    if (this.#idle.length < MOST_IDLE) this.#idle.push(connection);
    else connection.close();
    return value;
  }
}

/** One wait for a reply. Rotating the list of one onto itself leaves the answer there for others who wait. */
async function replyTo(send: Send, id: string): Promise<string | undefined> {
  const reply = `${PREFIX}reply:${id}`;
  const found = await send("BLMOVE", reply, reply, "LEFT", "LEFT", WAIT_SECONDS);
  if (found === null || found === undefined) return undefined;
  if (typeof found !== "string") throw new NoAnswer("what answers is no queue server of Memlane's");
  return found;
}

/** An answer of a worker's. Throws `NoAnswer` where it says why there is none. */
function answerOf(raw: unknown): Fields {
  if (typeof raw !== "string" || raw.length > MOST_CHARACTERS) throw new NoAnswer("the answer is too long, or none");
  const answer = asFields(JSON.parse(raw));
  if (typeof answer.error === "string") throw new NoAnswer(answer.error.slice(0, 1000));
  return answer;
}

function contextOf(raw: unknown): string {
  return asText(answerOf(raw).context);
}

/**
 * A question as it is put to the workers, without secrets and private text. Byte for byte what Python makes of it, so
 * that all producers share what is cached under its SHA-256.
 */
export function encoded(group: string, text: string, paths: string[], tokens: number | undefined): string {
  const asked = asFields(redact({ text, paths }));
  const words = asText(asked.text)
    .split(/[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/)
    .filter((word) => word)
    .join(" ");
  const files = [...new Set(asList(asked.paths).map(asText))].sort();
  const list = `[${files.map(json).join(", ")}]`;
  return `{"group": ${json(group)}, "paths": ${list}, "text": ${json(words)}, "tokens": ${tokens ?? "null"}}`;
}

function json(text: string): string {
  return JSON.stringify(text.replace(/\p{Surrogate}/gu, "?"));
}
