/**
 * Inject: what memory holds on the user's message becomes a system message, and a full context window an advisory.
 *
 * The question is put when the message arrives; by the time the model is asked it is mostly answered. It is waited for
 * up to the deadline, counted from the message on; what comes later is there for the turn's next step. A system message
 * is not kept by OpenCode, so nothing of it is ever captured.
 */

import type { Asker } from "./asking.ts";
import { pause } from "./deadline.ts";
import { advisory } from "./context.ts";
import type { Capture } from "./capture.ts";
import type { Log } from "./log.ts";
import type { Options } from "./options.ts";
import type { Session } from "./session.ts";
import type { Timings } from "./timings.ts";
import { asText, head, reason } from "./values.ts";

/** Most characters of a message that memory is asked with. */
const QUESTION = 2000;
/** A worker's answer may come this much later, ms, and still be of use for the turn's next steps. */
const LATE_MS = 5000;
/** How the prompts begin of OpenCode's own agents that have no use for memory: titles and summaries. */
const OWN_AGENTS =
  /^\s*You are (?:a title generator|a helpful AI assistant tasked with summari|an? anchored context summari)/;

/** What is asked for, and until when it is waited for. */
interface Asking {
  text: string | undefined;
  answer: Promise<void>;
  until: number;
}

export class Injection {
  readonly #capture: Capture;
  readonly #asker: Asker;
  readonly #options: Options;
  readonly #log: Log;
  readonly #timings: Timings;
  readonly #asking = new WeakMap<Session, Asking>();
  /** Prompts of title and compaction agents that are configured. */
  ownPrompts: string[] = [];

  constructor(capture: Capture, asker: Asker, options: Options, log: Log, timings: Timings) {
    this.#capture = capture;
    this.#asker = asker;
    this.#options = options;
    this.#log = log;
    this.#timings = timings;
  }

  /** The user said this: ask memory, and don't wait. */
  ask(session: Session, text: string): void {
    if (!text.trim()) return;
    const { recallDeadlineMs, recallTokens } = this.#options;
    const began = performance.now();
    const asking: Asking = { text: undefined, answer: Promise.resolve(), until: began + recallDeadlineMs };
    const ms = recallDeadlineMs + LATE_MS;
    asking.answer = this.#asker
      .recall(this.#capture.group(session), head(text, QUESTION), { tokens: recallTokens, ms })
      .then(({ context, cache }) => {
        asking.text = context;
        const took = performance.now() - began;
        this.#timings.note({ recall: cache }, took);
        this.#log.debug(`recall: cache ${cache}, ${Math.round(took)} ms, ${context.length} characters`);
      })
      .catch((error: unknown) => {
        this.#timings.note({ recall: "none" }, performance.now() - began);
        this.#log.debug(`recall: none (${reason(error).slice(0, 200)})`);
      });
    this.#asking.set(session, asking);
  }

  /** The hook `experimental.chat.system.transform`. */
  async transform(session: Session, system: string[]): Promise<void> {
    if (this.#isOwn(system) || session.conversation.compaction) return;
    const asking = this.#asking.get(session);
    if (asking) {
      const began = performance.now();
      const left = asking.until - began;
      if (asking.text === undefined && left > 0) await Promise.race([asking.answer, pause(left)]);
      this.#timings.note({ waited: asking.text === undefined ? "in vain" : "answered" }, performance.now() - began);
      if (asking.text) system.push(asking.text);
    }
    const fill = this.#capture.fill(session.id);
    if (fill && fill.level !== "green") system.push(advisory(fill));
  }

  #isOwn(system: string[]): boolean {
    const prompt = asText(system[0]);
    return OWN_AGENTS.test(prompt) || this.ownPrompts.some((own) => own && prompt.startsWith(own));
  }
}
