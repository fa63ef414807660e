/**
 * What one session's messages and parts say, as events: the importer's `opencode_events.py`, but while it happens.
 *
 * Native ids, data and times are those of the importer, so that a live event and its later import are the same one.
 */

import { absolute, HEAD, OWN, summaryOf, writesOf, WRITERS } from "./calls.ts";
import { nativeOfTodos } from "./id.ts";
import { asCount, asFields, asFlag, asList, asText, asTime, head, type Fields } from "./values.ts";

/** Longest task of a completion, in characters. */
const TASK = 500;
/** Most messages and parts of a session that are known to be dealt with. */
const REMEMBERED = 1000;

/** What a conversation tells; `capture` adds the session. */
export interface Told {
  type: string;
  time: number;
  data: Fields;
  native?: string;
  status?: string;
  agent?: string | undefined;
}

/** Called with each event as it happens. */
export type Tell = (told: Told) => void;

/** Size of the context, in tokens, that an assistant message's `tokens` tell; 0 if nothing was counted. */
export function contextTokens(value: unknown): number {
  const tokens = asFields(value);
  const cache = asFields(tokens.cache);
  const parts = [tokens.input, tokens.output, cache.read, cache.write];
  return asCount(tokens.total) || parts.reduce<number>((sum, part) => sum + asCount(part), 0);
}

/** One entry of a todo list. */
interface Todo {
  content: string;
  status: string;
  priority: string;
}

/** A todo list as the event has it; entries without content are left out. */
export function todosOf(value: unknown): Todo[] {
  return asList(value)
    .map(asFields)
    .filter((todo) => asText(todo.content))
    .map((todo) => ({
      content: asText(todo.content),
      status: asText(todo.status),
      priority: asText(todo.priority),
    }));
}

/** What was said: not what OpenCode itself put in (`synthetic`) nor what the model doesn't get (`ignored`). */
export function textOf(parts: Iterable<Fields>): string {
  return [...parts]
    .filter((part) => part.type === "text" && !part.synthetic && !part.ignored)
    .map((part) => asText(part.text))
    .filter((text) => text.trim())
    .join("\n\n");
}

/** A message that is not yet dealt with. */
interface Open {
  info: Fields;
  parts: Map<string, Fields>;
}

/** Reads one session's messages while they are written, and knows what later ones refer to. */
export class Conversation {
  /** Where relative paths start from. */
  directory: string;
  /** Session that this one is a subagent of. */
  parent: string | undefined;
  title = "";
  /** Size of the context after the latest assistant message, in tokens; 0 where it is not known. */
  context = 0;
  /** Summary of the latest compaction. */
  summary = "";
  /** Messages told of. */
  messages = 0;
  /** The compaction that is under way: its user message, and what that says of it. */
  compaction: { message: string; part: Fields } | undefined;

  readonly #tell: Tell;
  readonly #open = new Map<string, Open>();
  readonly #done = new Set<string>();
  readonly #agents = new Map<string, string>();
  readonly #compactions = new Map<string, Fields>();
  readonly #todoLists = new Set<string>();
  #request: { text: string; time: number } | undefined;
  #used = 0;
  #compacted: Told | undefined;
  #todos: Told | undefined;
  readonly #failed = new Set<string>();
  #failure: Fields | undefined;

  constructor(directory: string, tell: Tell) {
    this.directory = directory;
    this.#tell = tell;
  }

  /** `message.updated`: a message was begun, goes on, or is complete. */
  message(info: Fields): void {
    const id = asText(info.id);
    if (!id || this.#done.has(id)) return;
    const open = this.#opened(id);
    open.info = info;
    if (info.role !== "assistant") return;
    const agent = asText(info.agent);
    if (agent) keep(this.#agents, id, agent);
    // Whoever is answered has said all.
    this.#asked(asText(info.parentID));
    if (info.summary !== true && contextTokens(info.tokens)) {
      this.context = contextTokens(info.tokens);
      this.#tellCompacted(this.context);
    }
    if (asTime(asFields(info.time).completed) !== undefined) this.#answered(id, open);
  }

  /** `message.part.updated` */
  part(part: Fields): void {
    const id = asText(part.id);
    const message = asText(part.messageID);
    if (!id || !message) return;
    if (part.type === "tool") {
      this.#called(id, message, part);
    } else if (part.type === "compaction") {
      keep(this.#compactions, message, part);
      this.compaction = { message, part };
    } else if (part.type === "text" && !this.#done.has(message)) {
      this.#opened(message).parts.set(id, part);
    }
  }

  /** The user said this: `chat.message` has it whole. Returns its text. */
  said(info: Fields, parts: Fields[]): string {
    const id = asText(info.id);
    const text = textOf(parts);
    if (!id || !text || this.#done.has(id)) return text;
    this.#opened(id).info = info;
    this.#asking(id, info, text);
    return text;
  }

  /** `todo.updated`: told at the end of the turn, unless a call of `todowrite` accounts for it. */
  todos(value: unknown, now: number): void {
    const todos = todosOf(value);
    this.#todos = { type: "todo.updated", time: now, native: nativeOfTodos(todos), data: { todos } };
  }

  /** `session.error`: told at the end of the turn, unless a message has it. */
  failed(error: Fields): void {
    this.#failure = error;
  }

  /** `session.idle`: the turn has ended, well or not. */
  idle(now: number): void {
    for (const [id, open] of [...this.#open]) if (open.info.role === "user") this.#asked(id);
    this.#tellCompacted(0);
    const todos = this.#todos;
    this.#todos = undefined;
    if (todos?.native && !this.#todoLists.has(todos.native)) this.#tell(todos);
    // A refused answer is idle first, and only then complete.
    if ([...this.#open.values()].some(({ info }) => info.role === "assistant")) return;
    const failure = this.#failure;
    if (failure !== undefined && !this.#failed.has(asText(failure.name))) {
      this.#tell({ type: "error", time: now, data: ofError(failure) });
    }
    this.#failure = undefined;
    this.#failed.clear();
    this.compaction = undefined;
  }

  #opened(id: string): Open {
    let open = this.#open.get(id);
    if (!open) {
      open = { info: {}, parts: new Map() };
      keep(this.#open, id, open);
    }
    return open;
  }

  #close(id: string): void {
    this.#open.delete(id);
    this.#done.add(id);
    if (this.#done.size > REMEMBERED) forgetOldest(this.#done);
  }

  #asked(id: string): void {
    const open = this.#open.get(id);
    if (open?.info.role !== "user") return;
    const text = textOf(inOrder(open.parts));
    if (text) this.#asking(id, open.info, text);
    else this.#close(id);
  }

  #asking(id: string, info: Fields, text: string): void {
    const time = asTime(asFields(info.time).created) ?? Date.now();
    this.#request = { text, time };
    this.#used = 0;
    this.messages += 1;
    this.#close(id);
    const agent = asText(info.agent) || undefined;
    this.#tell({ type: "chat.message", time, native: id, agent, data: { role: "user", text, message: id } });
  }

  #answered(id: string, { info, parts }: Open): void {
    this.#close(id);
    const times = asFields(info.time);
    const ended = asTime(times.completed) ?? asTime(times.created) ?? Date.now();
    const agent = asText(info.agent) || undefined;
    const tell = (type: string, data: Fields): void => {
      this.#tell({ type, time: ended, native: id, agent, data });
    };
    const error = info.error ? asFields(info.error) : undefined;
    if (error) {
      this.#failed.add(asText(error.name));
      tell("error", ofError(error));
    }
    const text = textOf(inOrder(parts));
    if (info.summary === true) {
      if (error) return;
      const asked = this.#compactions.get(asText(info.parentID)) ?? {};
      this.summary = text;
      this.#compacted = {
        type: "session.compacted",
        time: ended,
        native: id,
        agent,
        data: {
          auto: asFlag(asked.auto),
          overflow: asFlag(asked.overflow),
          summary: text,
          tokens_before: this.context || undefined,
        },
      };
      return;
    }
    const tokens = contextTokens(info.tokens);
    this.#used += tokens;
    if (text) {
      this.messages += 1;
      tell("chat.message", { role: "assistant", text, message: id, tokens: tokens || undefined });
    }
    if (info.finish === "stop" && !error && !this.parent) {
      const { text: task, time: asked } = this.#request ?? {
        text: this.title,
        time: asTime(times.created) ?? ended,
      };
      tell("completion", {
        task: head(task.trim(), TASK) || "(untitled)",
        duration: Math.max(0, ended - asked) / 1000,
        tokens: this.#used || undefined,
      });
    }
  }

  /** The compaction is told of once it is known how large the context is after it; at the end of the turn anyway. */
  #tellCompacted(tokens: number): void {
    const compacted = this.#compacted;
    if (!compacted) return;
    this.#compacted = undefined;
    this.#tell({ ...compacted, data: { ...compacted.data, tokens_after: tokens || undefined } });
  }

  #called(id: string, message: string, part: Fields): void {
    const state = asFields(part.state);
    const status = asText(state.status);
    const tool = asText(part.tool);
    if ((status !== "completed" && status !== "error") || OWN.has(tool) || this.#done.has(id)) return;
    this.#done.add(id);
    if (this.#done.size > REMEMBERED) forgetOldest(this.#done);
    const times = asFields(state.time);
    // Its output was taken out of the context by OpenCode: it happened long ago.
    if (times.compacted !== undefined) return;
    const start = asTime(times.start);
    const end = asTime(times.end);
    const told = { time: end ?? Date.now(), agent: this.#agents.get(message) };
    if (status === "completed" && WRITERS.has(tool)) {
      let number = 0;
      for (const write of writesOf(tool, state, this.directory)) {
        const native = number ? `${id}.${number}` : id;
        this.#tell({ ...told, type: "file.write", native, status, data: { ...write, tool } });
        number += 1;
      }
    }
    const file = asText(asFields(state.input).filePath);
    const path = file ? absolute(file, this.directory) : undefined;
    const call = {
      tool,
      status,
      duration_ms: start !== undefined && end !== undefined ? Math.max(0, end - start) : undefined,
      path,
      exit: asFields(state.metadata).exit,
      summary: summaryOf(tool, state) || undefined,
    };
    this.#tell({ ...told, type: "tool.call", native: id, status, data: call });
    if (status === "error") {
      const text = head(asText(state.error), HEAD) || `${tool} failed`;
      const data = { message: text, name: "ToolError", severity: "high", tool, path };
      this.#tell({ ...told, type: "error", native: id, data });
    } else if (tool === "todowrite") {
      const todos = todosOf(asFields(state.input).todos);
      this.#todoLists.add(nativeOfTodos(todos));
      if (this.#todoLists.size > REMEMBERED) forgetOldest(this.#todoLists);
      this.#tell({ ...told, type: "todo.updated", native: id, data: { todos } });
    }
  }
}

/** What the model or OpenCode says went wrong. */
function ofError(error: Fields): Fields {
  const name = asText(error.name) || "Error";
  // Stopping an answer is the user's wish, no failure of the model's.
  const severity = name === "MessageAbortedError" ? "low" : "high";
  return { message: head(asText(asFields(error.data).message), HEAD) || name, name, severity };
}

/** Parts in the order of their ids, which is that of time. */
function inOrder(parts: Map<string, Fields>): Fields[] {
  return [...parts].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, part]) => part);
}

function keep<Value>(map: Map<string, Value>, key: string, value: Value): void {
  map.set(key, value);
  if (map.size > REMEMBERED) forgetOldest(map);
}

function forgetOldest(entries: Set<string> | Map<string, unknown>): void {
  for (const key of entries.keys()) {
    entries.delete(key);
    return;
  }
}
