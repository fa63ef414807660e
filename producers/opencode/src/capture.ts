/**
 * Capture: OpenCode's bus events and hooks become Memlane's events. What each is about is one line in a table below.
 *
 * | Memlane's event                        | comes from                                                              |
 * | -------------------------------------- | ----------------------------------------------------------------------- |
 * | `session.start`                        | the session's first sign of life                                        |
 * | `session.end`                          | `session.deleted`; the end of OpenCode; half an hour of rest              |
 * | `chat.start`, `chat.message` (user)    | hook `chat.message`                                                     |
 * | `chat.message` (assistant)             | `message.updated` of a complete message                                 |
 * | `file.write`, `tool.call`              | `message.part.updated` of a call that ended, well or not                |
 * | `error`                                | a failed call; a message with an error; `session.error` without either  |
 * | `completion`                           | the message that ends a root session's turn                             |
 * | `todo.updated`                         | a `todowrite` call; `todo.updated` without one                          |
 * | `context.warning`                      | tokens of an assistant message                                          |
 * | `session.compacting`                   | hook `experimental.session.compacting`                                  |
 * | `session.compacted`                    | the message with the summary                                            |
 */

import { fillOf, type Fill } from "./context.ts";
import { contextTokens, Conversation, textOf, type Told } from "./conversation.ts";
import type { Draft } from "./draft.ts";
import { groupOf } from "./group.ts";
import type { Input } from "./opencode.ts";
import type { Options } from "./options.ts";
import { Session } from "./session.ts";
import { asFields, asFlag, asList, asText, type Fields } from "./values.ts";

const MINUTE = 60_000;

/** What is done with a bus event's properties, by its type. */
type Table = Record<string, (session: Session, properties: Fields) => void>;

export class Capture {
  readonly sessions = new Map<string, Session>();
  /** OpenCode's setting `compaction`. */
  compaction: Fields = {};

  readonly #input: Input;
  readonly #options: Options;
  readonly #publish: (draft: Draft) => void;
  readonly #groups = new Map<string, string>();
  /** Whether OpenCode ends: what it still says is of no interest. */
  #over = false;

  readonly #events: Table = {
    "session.created": (session, { info }) => {
      session.known(asFields(info));
    },
    "session.updated": (session, { info }) => {
      session.known(asFields(info));
      if (session.model) this.#started(session);
    },
    "session.deleted": (session) => {
      this.#ended(session, "deleted");
    },
    "session.status": (session, { status }) => {
      session.resting = asFields(status).type === "idle";
    },
    "session.idle": (session) => {
      session.resting = true;
      session.conversation.idle(Date.now());
    },
    "session.error": (session, { error }) => {
      session.conversation.failed(asFields(error));
    },
    "session.compacted": (session) => {
      session.window.compacted();
      session.conversation.compaction = undefined;
    },
    "todo.updated": (session, { todos }) => {
      session.conversation.todos(todos, Date.now());
    },
    "message.updated": (session, { info }) => {
      session.conversation.message(asFields(info));
      this.#watch(session, asFields(info));
    },
    "message.part.updated": (session, { part }) => {
      session.conversation.part(asFields(part));
    },
  };

  constructor(input: Input, options: Options, publish: (draft: Draft) => void) {
    this.#input = input;
    this.#options = options;
    this.#publish = publish;
  }

  /** A bus event. */
  event(type: string, properties: Fields): void {
    const read = this.#events[type];
    if (!read || this.#over) return;
    const about = asFields(properties.info ?? properties.part);
    const of = type.startsWith("session.") ? (about.id ?? about.sessionID) : about.sessionID;
    const id = asText(properties.sessionID) || asText(of);
    if (!id) return;
    const session = this.session(id);
    read(session, properties);
    this.#watchRest(session);
  }

  /** The hook `chat.message`: the user said this. Returns its text. */
  said(id: string, message: Fields, parts: Fields[]): string {
    const session = this.session(id);
    session.resting = false;
    this.#watchRest(session);
    const text = textOf(parts);
    const model = asFields(message.model);
    if (asText(model.providerID) && asText(model.modelID)) {
      session.answering = { providerID: asText(model.providerID), modelID: asText(model.modelID) };
      session.model ||= `${session.answering.providerID}/${session.answering.modelID}`;
    }
    session.agent ||= asText(message.agent);
    if (text) {
      const agent = asText(message.agent) || undefined;
      this.#tell(session, {
        type: "chat.start",
        time: Date.now(),
        native: asText(message.id),
        agent,
        data: { query: text },
      });
    }
    session.conversation.said(message, parts);
    return text;
  }

  /** The hook `experimental.session.compacting`. */
  compacting(id: string): void {
    const session = this.session(id);
    const { compaction, context } = session.conversation;
    const { auto, overflow } = compaction?.part ?? {};
    const data = { auto: asFlag(auto), overflow: asFlag(overflow), tokens_before: context || undefined };
    const native = compaction ? { native: compaction.message } : {};
    this.#tell(session, { type: "session.compacting", time: Date.now(), ...native, data });
  }

  /** The user asked memory for something: see the tool `memory`. */
  requested(id: string, data: Fields): void {
    this.#tell(this.session(id), { type: "user.request", time: Date.now(), data });
  }

  /** How full a session's window is; undefined where nothing was counted yet. */
  fill(id: string): Fill | undefined {
    const window = this.sessions.get(id)?.window;
    if (!window?.tokens) return undefined;
    return fillOf(window.tokens, window.limit, this.compaction, this.#options.thresholds);
  }

  /** Group of a session. */
  group(session: Session): string {
    return this.groupOf(session.conversation.directory);
  }

  /** Group of a folder. */
  groupOf(directory: string): string {
    if (this.#options.group) return this.#options.group;
    let group = this.#groups.get(directory);
    if (!group) {
      group = groupOf(directory);
      this.#groups.set(directory, group);
    }
    return group;
  }

  /** OpenCode ends: so do its sessions. */
  end(): void {
    this.#over = true;
    for (const session of [...this.sessions.values()]) {
      session.conversation.idle(Date.now());
      this.#ended(session, "exit");
    }
  }

  /** The session of this id. */
  session(id: string): Session {
    let session = this.sessions.get(id);
    if (!session) {
      const conversation = new Conversation(this.#input.directory, (told) => {
        if (session) this.#tell(session, told);
      });
      session = new Session(id, conversation);
      this.sessions.set(id, session);
    }
    return session;
  }

  /** Root of the project that a folder belongs to: the innermost working tree; outside of git, the folder itself. */
  project(directory: string): string {
    const { worktree, project } = this.#input;
    const roots = [worktree, asText(project?.worktree), ...asList(project?.sandboxes).map(asText)];
    const within = roots.filter((root) => root && root !== "/" && inside(directory).startsWith(inside(root)));
    return within.reduce((best, root) => (root.length > best.length ? root : best), "") || directory;
  }

  #tell(session: Session, told: Told): void {
    if (told.type !== "session.start") this.#started(session);
    session.active = told.type !== "session.end";
    this.#publish({
      ...told,
      session: session.id,
      agent: (told.agent ?? session.agent) || undefined,
      project: this.project(session.conversation.directory),
      group: this.group(session),
    });
  }

  #started(session: Session): void {
    if (session.started) return;
    session.started = true;
    const { parent, title } = session.conversation;
    const data = { parent, title: title || undefined, model: session.model || undefined };
    this.#tell(session, { type: "session.start", time: session.created, native: session.id, data });
  }

  #ended(session: Session, reason: string): void {
    if (session.active) {
      const data = { reason, messages: session.conversation.messages };
      this.#tell(session, { type: "session.end", time: Date.now(), data });
    }
    clearTimeout(session.timer);
    this.sessions.delete(session.id);
  }

  /** A session that rests ends when nothing more happens in it for long. */
  #watchRest(session: Session): void {
    clearTimeout(session.timer);
    if (!session.resting || !this.sessions.has(session.id)) return;
    session.timer = setTimeout(() => {
      this.#ended(session, "idle");
    }, this.#options.sessionIdleMinutes * MINUTE);
    session.timer.unref();
  }

  /** Warn, once a level, when the context fills up. */
  #watch(session: Session, info: Fields): void {
    const tokens = contextTokens(info.tokens);
    if (info.role !== "assistant" || info.summary === true || !tokens) return;
    session.window.tokens = tokens;
    const fill = this.fill(session.id);
    if (!fill || !session.window.grew(fill)) return;
    const data = { context_size: tokens, limit: fill.limit, percentage: fill.percentage, level: fill.level };
    const native = { native: asText(info.id), status: fill.level };
    this.#tell(session, { type: "context.warning", time: Date.now(), ...native, data });
  }
}

function inside(path: string): string {
  return path.replaceAll("\\", "/").replace(/\/+$/, "") + "/";
}
