/**
 * The tools of the agent: `memory`, which only looks things up (and remembers what it is told to), and
 * `memory_compact`. Workers answer over the queue; the window and the plans are known here.
 */

import { NoAnswer, type Asker } from "./asking.ts";
import type { Capture } from "./capture.ts";
import { advice, described } from "./context.ts";
import type { Log } from "./log.ts";
import type { Asked, Client, Tool } from "./opencode.ts";
import type { Options } from "./options.ts";
import { plans } from "./plans.ts";
import type { Session } from "./session.ts";
import { asCount, asFields, asList, asText, reason, type Fields } from "./values.ts";

/** Operations that are answered here, for `help`; workers know the rest. */
const HERE: Record<string, string> = {
  recall: 'what memory holds on a question, ranked: {"query": "…", "paths"?: ["src/a.py"], "tokens"?: 1500}',
  remember: 'keep a fact for all later sessions of this project: {"text": "…"}',
  context: "how full your own context window is now",
  plans: 'saved plans of the project, or one of them whole: {"read"?: "NAME"}',
};

const DESCRIPTION = `Memory of this and earlier sessions of the project, shared by all its agents.
Operations: help; recall {query}: what is known on a question; search {query, limit}: full text over all conversations;
sessions {limit, projectPath}; messages {sessionId, limit}; compactions {sessionId, read}; summary: counts;
context: how full your context window is; plans {read}: saved plans; remember {text}: keep a fact for later sessions.
Use recall before you ask the user for what may have been settled before. "help" explains the arguments.`;

/** What goes into the answer's title. */
type Answer = Promise<string> | string;

export class Tools {
  readonly #capture: Capture;
  readonly #asker: Asker;
  readonly #options: Options;
  readonly #client: Client;
  readonly #log: Log;

  constructor(capture: Capture, asker: Asker, options: Options, client: Client, log: Log) {
    this.#capture = capture;
    this.#asker = asker;
    this.#options = options;
    this.#client = client;
    this.#log = log;
  }

  /** As OpenCode takes them. */
  get definitions(): Record<string, Tool> {
    const tool = { type: "string", description: "operation, such as recall, search or help" };
    const args = { type: "object", description: 'its arguments; {} if there are none; see "help"' };
    return {
      memory: {
        description: DESCRIPTION,
        args: { tool, args },
        execute: (given, asked) => this.#memory(given, asked),
      },
      memory_compact: {
        description:
          "Compact this session's context: it is summarised as soon as you have ended your turn. First finish what is " +
          "under way, and put what must not be forgotten into files or todos.",
        args: {},
        execute: (_, asked) => Promise.resolve(this.#compact(asked)),
      },
    };
  }

  /** `tool.definition`: only the operation is required. */
  define(id: string, definition: Fields): void {
    if (id === "memory") asFields(definition.jsonSchema).required = ["tool"];
  }

  /** The turn has ended: begin the compaction that the agent asked for. Nobody waits for it. */
  turnEnded(session: Session): void {
    if (!session.compactAtEnd) return;
    session.compactAtEnd = false;
    const body = session.answering;
    if (!body) return;
    this.#client.session.summarize({ path: { id: session.id }, body: { ...body } }).catch((error: unknown) => {
      this.#log.error("the compaction that was asked for could not be begun", error);
    });
  }

  async #memory(given: Fields, asked: Asked): Promise<{ title: string; output: string }> {
    const name = asText(given.tool).trim() || "help";
    const args = argsOf(given.args);
    try {
      return { title: name, output: await this.#answer(name, args, asked) };
    } catch (error) {
      if (!(error instanceof NoAnswer)) this.#log.warn(`tool memory, operation ${name}, failed`, error);
      const advice = error instanceof NoAnswer ? "" : " (`memlane doctor` says what is wrong; go on without memory)";
      return { title: name, output: `No answer: ${reason(error)}${advice}` };
    }
  }

  #answer(name: string, args: Fields, asked: Asked): Answer {
    const session = this.#capture.session(asked.sessionID);
    switch (name) {
      case "context":
        if (!asText(args.sessionId)) return this.#context(session);
        break;
      case "plans":
        return plans(this.#project(session), this.#options.plans, asText(args.read));
      case "recall":
        return this.#recall(session, args);
      case "remember":
        return this.#remember(session, args);
      case "help":
        if (asText(args.tool) in HERE) return `${asText(args.tool)}: ${HERE[asText(args.tool)] ?? ""}`;
        return this.#help(session, args);
    }
    return this.#ask(session, name, args);
  }

  async #ask(session: Session, tool: string, args: Fields): Promise<string> {
    const who = { session: session.id, project: this.#project(session), ms: this.#options.toolDeadlineMs };
    return (await this.#asker.ask(this.#capture.group(session), tool, args, who)).text;
  }

  async #help(session: Session, args: Fields): Promise<string> {
    const here = Object.entries(HERE).map(([name, gives]) => `- \`${name}\`: ${gives}`);
    const text = await this.#ask(session, "help", args).catch((error: unknown) => {
      return `Workers don't answer now (${reason(error)}); these do:`;
    });
    return asText(args.tool) ? text : [text, "", ...here].join("\n");
  }

  #context(session: Session): string {
    const fill = this.#capture.fill(session.id);
    if (!fill) return "Nothing was counted yet: ask again after the first answer.";
    const { usable, tokens } = fill;
    const until =
      usable === undefined
        ? "OpenCode does not compact by itself."
        : `OpenCode compacts in ${Math.max(0, usable - tokens).toLocaleString("en")} tokens.`;
    return [described(fill), session.window.model && `model ${session.window.model}`, until, advice(fill.level)]
      .filter((line) => line)
      .join("\n");
  }

  async #recall(session: Session, args: Fields): Promise<string> {
    const query = asText(args.query).trim();
    if (!query)
      throw new NoAnswer('query: is missing, as in {"tool": "recall", "args": {"query": "why did the test fail?"}}');
    const paths = asList(args.paths)
      .map(asText)
      .filter((path) => path);
    const tokens = asCount(args.tokens) || this.#options.recallTokens;
    const ms = this.#options.toolDeadlineMs;
    const { context } = await this.#asker.recall(this.#capture.group(session), query, { paths, tokens, ms });
    return context || "Nothing is known of that.";
  }

  #remember(session: Session, args: Fields): string {
    const request = asText(args.text).trim();
    if (!request)
      throw new NoAnswer(
        'text: is missing, as in {"tool": "remember", "args": {"text": "deploys go out on Tuesdays"}}',
      );
    this.#capture.requested(session.id, { request, action: "remember" });
    return "Kept.";
  }

  #compact({ sessionID }: Asked): { title: string; output: string } {
    const session = this.#capture.session(sessionID);
    if (!session.answering) return { title: "not now", output: "The session's model is not known: use /compact." };
    session.compactAtEnd = true;
    return { title: "compaction", output: "The session is compacted when you have ended your turn. End it now." };
  }

  #project(session: Session): string {
    return this.#capture.project(session.conversation.directory);
  }
}

/** Arguments, also where a model gives them as JSON text. */
function argsOf(given: unknown): Fields {
  if (typeof given !== "string") return asFields(given);
  try {
    return asFields(JSON.parse(given));
  } catch {
    return {};
  }
}
