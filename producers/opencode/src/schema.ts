/* Made by scripts/schema.ts from docs/event.schema.json: change the models in memory/events.py instead. */

import type { Shape } from "./shape.ts";

/**
 * What `data` holds, by the event's type. Unknown fields are kept.
 */
export interface EventData {
  "session.start": SessionStart;
  "session.end": SessionEnd;
  "context.warning": ContextWarning;
  "user.request": UserRequest;
  "chat.start": ChatStart;
  "chat.message": ChatMessage;
  "file.write": FileWrite;
  "tool.call": ToolCall;
  "todo.updated": TodoUpdated;
  "vcs.commit": VcsCommit;
  error: Error;
  completion: Completion;
  "session.compacting": Compaction;
  "session.compacted": Compaction1;
  "checkpoint.created": CheckpointCreated;
  "part.hidden": PartHidden;
  "part.shown": PartHidden1;
}
export interface SessionStart {
  parent?: undefined | string | null;
  title?: undefined | string | null;
  model?: undefined | string | null;
  [k: string]: unknown;
}
export interface SessionEnd {
  reason?: undefined | string | null;
  messages?: undefined | number | null;
  [k: string]: unknown;
}
export interface ContextWarning {
  context_size: number;
  limit: number;
  percentage?: undefined | number | null;
  level?: undefined | string | null;
  [k: string]: unknown;
}
export interface UserRequest {
  request: string;
  action?: undefined | ("remember" | "query" | "forget") | null;
  [k: string]: unknown;
}
export interface ChatStart {
  query: string;
  [k: string]: unknown;
}
export interface ChatMessage {
  role: string;
  text: string;
  message?: undefined | string | null;
  tokens?: undefined | number | null;
  [k: string]: unknown;
}
export interface FileWrite {
  path: string;
  tool?: undefined | string | null;
  additions?: undefined | number | null;
  deletions?: undefined | number | null;
  summary?: undefined | string | null;
  [k: string]: unknown;
}
export interface ToolCall {
  tool: string;
  status: string;
  duration_ms?: undefined | number | null;
  path?: undefined | string | null;
  summary?: undefined | string | null;
  [k: string]: unknown;
}
export interface TodoUpdated {
  todos: Todo[];
  [k: string]: unknown;
}
export interface Todo {
  content: string;
  status?: undefined | string | null;
  priority?: undefined | string | null;
  [k: string]: unknown;
}
export interface VcsCommit {
  sha: string;
  message: string;
  author?: undefined | string | null;
  paths?: undefined | string[] | null;
  [k: string]: unknown;
}
export interface Error {
  message: string;
  name?: undefined | string | null;
  severity?: undefined | string | null;
  [k: string]: unknown;
}
export interface Completion {
  task: string;
  duration?: undefined | number | null;
  tokens?: undefined | number | null;
  [k: string]: unknown;
}
export interface Compaction {
  auto?: undefined | boolean | null;
  overflow?: undefined | boolean | null;
  summary?: undefined | string | null;
  tokens_before?: undefined | number | null;
  tokens_after?: undefined | number | null;
  [k: string]: unknown;
}
export interface Compaction1 {
  auto?: undefined | boolean | null;
  overflow?: undefined | boolean | null;
  summary?: undefined | string | null;
  tokens_before?: undefined | number | null;
  tokens_after?: undefined | number | null;
  [k: string]: unknown;
}
export interface CheckpointCreated {
  checkpoint: string;
  tokens_before?: undefined | number | null;
  tokens_after?: undefined | number | null;
  [k: string]: unknown;
}
export interface PartHidden {
  part: string;
  replacement?: undefined | string | null;
  [k: string]: unknown;
}
export interface PartHidden1 {
  part: string;
  replacement?: undefined | string | null;
  [k: string]: unknown;
}

/** Older spellings of types, accepted on input. */
export const ALIASES = new Map<string, string>([["on_session_start","session.start"],["on_session_end","session.end"],["on_context_warning","context.warning"],["on_user_request","user.request"],["chat:start","chat.start"],["file:write","file.write"],["experimental.session.compacting","session.compacting"]]);

/** What is right: the envelope (`Event`), and `data` by type. */
export const SHAPES = new Map<string, Shape>([
  ["Todo", {"properties":{"content":{"type":"string"},"status":{"type":"string","nullable":true},"priority":{"type":"string","nullable":true}},"required":["content"],"type":"object"}],
  ["session.start", {"properties":{"parent":{"type":"string","nullable":true},"title":{"type":"string","nullable":true},"model":{"type":"string","nullable":true}},"type":"object"}],
  ["session.end", {"properties":{"reason":{"type":"string","nullable":true},"messages":{"maximum":9007199254740991,"minimum":0,"type":"integer","nullable":true}},"type":"object"}],
  ["context.warning", {"properties":{"context_size":{"maximum":9007199254740991,"minimum":0,"type":"integer"},"limit":{"maximum":9007199254740991,"minimum":0,"type":"integer"},"percentage":{"type":"number","nullable":true},"level":{"type":"string","nullable":true}},"required":["context_size","limit"],"type":"object"}],
  ["user.request", {"properties":{"request":{"minLength":1,"type":"string"},"action":{"enum":["remember","query","forget"],"type":"string","nullable":true}},"required":["request"],"type":"object"}],
  ["chat.start", {"properties":{"query":{"type":"string"}},"required":["query"],"type":"object"}],
  ["chat.message", {"properties":{"role":{"minLength":1,"type":"string"},"text":{"type":"string"},"message":{"type":"string","nullable":true},"tokens":{"maximum":9007199254740991,"minimum":0,"type":"integer","nullable":true}},"required":["role","text"],"type":"object"}],
  ["file.write", {"properties":{"path":{"minLength":1,"type":"string"},"tool":{"type":"string","nullable":true},"additions":{"maximum":9007199254740991,"minimum":0,"type":"integer","nullable":true},"deletions":{"maximum":9007199254740991,"minimum":0,"type":"integer","nullable":true},"summary":{"type":"string","nullable":true}},"required":["path"],"type":"object"}],
  ["tool.call", {"properties":{"tool":{"minLength":1,"type":"string"},"status":{"minLength":1,"type":"string"},"duration_ms":{"minimum":0,"type":"number","nullable":true},"path":{"type":"string","nullable":true},"summary":{"type":"string","nullable":true}},"required":["tool","status"],"type":"object"}],
  ["todo.updated", {"properties":{"todos":{"items":{"ref":"Todo"},"type":"array"}},"required":["todos"],"type":"object"}],
  ["vcs.commit", {"properties":{"sha":{"minLength":1,"type":"string"},"message":{"type":"string"},"author":{"type":"string","nullable":true},"paths":{"items":{"type":"string"},"type":"array","nullable":true}},"required":["sha","message"],"type":"object"}],
  ["error", {"properties":{"message":{"type":"string"},"name":{"type":"string","nullable":true},"severity":{"type":"string","nullable":true}},"required":["message"],"type":"object"}],
  ["completion", {"properties":{"task":{"minLength":1,"type":"string"},"duration":{"minimum":0,"type":"number","nullable":true},"tokens":{"maximum":9007199254740991,"minimum":0,"type":"integer","nullable":true}},"required":["task"],"type":"object"}],
  ["session.compacting", {"properties":{"auto":{"type":"boolean","nullable":true},"overflow":{"type":"boolean","nullable":true},"summary":{"type":"string","nullable":true},"tokens_before":{"maximum":9007199254740991,"minimum":0,"type":"integer","nullable":true},"tokens_after":{"maximum":9007199254740991,"minimum":0,"type":"integer","nullable":true}},"type":"object"}],
  ["session.compacted", {"properties":{"auto":{"type":"boolean","nullable":true},"overflow":{"type":"boolean","nullable":true},"summary":{"type":"string","nullable":true},"tokens_before":{"maximum":9007199254740991,"minimum":0,"type":"integer","nullable":true},"tokens_after":{"maximum":9007199254740991,"minimum":0,"type":"integer","nullable":true}},"type":"object"}],
  ["checkpoint.created", {"properties":{"checkpoint":{"minLength":1,"type":"string"},"tokens_before":{"maximum":9007199254740991,"minimum":0,"type":"integer","nullable":true},"tokens_after":{"maximum":9007199254740991,"minimum":0,"type":"integer","nullable":true}},"required":["checkpoint"],"type":"object"}],
  ["part.hidden", {"properties":{"part":{"minLength":1,"type":"string"},"replacement":{"type":"string","nullable":true}},"required":["part"],"type":"object"}],
  ["part.shown", {"properties":{"part":{"minLength":1,"type":"string"},"replacement":{"type":"string","nullable":true}},"required":["part"],"type":"object"}],
  ["Event", {"type":"object","properties":{"specversion":{"const":"1.0","type":"string"},"id":{"maxLength":128,"minLength":1,"type":"string"},"source":{"maxLength":256,"minLength":1,"type":"string"},"type":{"pattern":"^[A-Za-z0-9_.:-]{1,128}$","type":"string"},"time":{"pattern":"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$","type":"string"},"group":{"pattern":"^[A-Za-z0-9_-]{1,64}$","type":"string"},"session":{"maxLength":256,"minLength":1,"type":"string","nullable":true},"agent":{"maxLength":256,"minLength":1,"type":"string","nullable":true},"user":{"maxLength":256,"minLength":1,"type":"string","nullable":true},"project":{"maxLength":4096,"minLength":1,"type":"string","nullable":true},"subject":{"type":"string","nullable":true},"data":{"type":"object"}},"required":["id","source","type","time","group","data"]}],
]);
