/** What OpenCode (1.18) gives a plugin and takes from it, as far as this one uses it. */

import type { Fields } from "./values.ts";

/** OpenCode's own API, in the same process. */
export interface Client {
  app: { log(request: { body: Fields }): Promise<unknown> };
  session: {
    messages(request: { path: { id: string }; query?: Fields }): Promise<{ data?: unknown }>;
    summarize(request: { path: { id: string }; body: Fields; query?: Fields }): Promise<unknown>;
  };
}

/** What `server` is called with. */
export interface Input {
  client: Client;
  directory: string;
  worktree: string;
  project?: Fields;
}

/** What a tool is called with, beside its arguments. */
export interface Asked {
  sessionID: string;
  messageID?: string;
  agent?: string;
  directory?: string;
}

export interface Tool {
  description: string;
  /** JSON Schema of each argument. */
  args: Record<string, Fields>;
  execute(args: Fields, asked: Asked): Promise<{ title: string; output: string }>;
}

/** The hooks: each gets what it is about, and changes what it is given as the second. */
export interface Hooks {
  event(input: { event: { type: string; properties: unknown } }): Promise<void>;
  config(config: Fields): Promise<void>;
  "chat.message"(input: Fields, output: { message: unknown; parts: unknown }): Promise<void>;
  "chat.params"(input: Fields, output: Fields): Promise<void>;
  "tool.definition"(input: { toolID: string }, output: Fields): Promise<void>;
  "experimental.chat.system.transform"(input: Fields, output: { system: string[] }): Promise<void>;
  "experimental.session.compacting"(input: { sessionID: string }, output: Compacting): Promise<void>;
  dispose(): Promise<void>;
  tool: Record<string, Tool>;
}

/** What a plugin may do to a compaction: see `compaction.ts`. */
export interface Compacting {
  context: string[];
  prompt?: string | undefined;
}
