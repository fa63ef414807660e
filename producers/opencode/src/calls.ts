/**
 * What OpenCode's tool calls did: the files they wrote, and a summary. The importer's `opencode_tools.py`, in
 * TypeScript: a live event and its later import say the same.
 *
 * A call is the `state` of a part of type `tool`: `{status, input, output, error, metadata, title, time}`. Nothing in
 * it can be relied upon: tools also come from plugins and MCP servers.
 */

import { asFields, asList, asText, head, lines, tail, type Fields } from "./values.ts";

/** Tools that write files. */
export const WRITERS: ReadonlySet<string> = new Set(["write", "edit", "multiedit", "patch", "apply_patch"]);
/** Tools that run a command. */
const SHELLS: ReadonlySet<string> = new Set(["bash", "shell"]);
/** Memlane's own tools: what was asked of memory is not remembered. */
export const OWN: ReadonlySet<string> = new Set(["memory", "memory_compact"]);

/** Most characters of a text kept from its beginning: content, a patch, an error. */
export const HEAD = 2000;
/** Most characters kept of a command, of the end of its output where it failed, and where it didn't. */
const COMMAND = 500;
const FAILED_OUTPUT = 1500;
const OUTPUT = 400;

const ABSOLUTE = /^(?:\/|\\\\|[A-Za-z]:[\\/])/;
const PATCHED = /^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+?)\s*$/gm;

/** Files that a completed call of one of `WRITERS` wrote: data of `file.write` without `tool`, paths absolute. */
export function* writesOf(tool: string, state: Fields, directory: string): Generator<Fields> {
  const given = asFields(state.input);
  const told = asFields(state.metadata);
  if (tool === "patch" || tool === "apply_patch") {
    yield* patched(given, told, directory);
    return;
  }
  const diff = asFields(told.filediff);
  const path = asText(told.filepath) || asText(diff.file) || asText(given.filePath);
  if (!path) return;
  const patch = asText(diff.patch) || asText(told.diff);
  const write = { path: absolute(path, directory) };
  if (patch) {
    yield { ...write, ...ofPatch(patch, diff) };
    return;
  }
  const content = asText(given.content);
  // What a file held before it was overwritten isn't told.
  const counts = told.exists === false ? { additions: lines(content).length, deletions: 0 } : {};
  yield { ...write, ...counts, summary: head(content, HEAD) || undefined };
}

function* patched(given: Fields, told: Fields, directory: string): Generator<Fields> {
  const files = asList(told.files)
    .map(asFields)
    .filter((file) => asText(file.filePath));
  if (!files.length) {
    const named = [...asText(given.patchText).matchAll(PATCHED)].map((match) => match[1] ?? "");
    for (const path of new Set(named)) yield { path: absolute(path, directory) };
  }
  for (const file of files) {
    const patch = asText(file.patch) || asText(file.diff);
    const path = asText(file.filePath);
    const moved = asText(file.movePath);
    yield { path: absolute(moved || path, directory), ...ofPatch(patch, file) };
    if (moved) yield { path: absolute(path, directory), summary: "Moved away" };
  }
}

/** Lines added and deleted, as told or else as counted, and the patch without its header. */
function ofPatch(patch: string, counts: Fields): Fields {
  const changed = lines(patch.slice(Math.max(0, patch.indexOf("@@"))));
  const { additions, deletions } = counts;
  return {
    additions: Number.isInteger(additions) ? additions : changed.filter((line) => line.startsWith("+")).length,
    deletions: Number.isInteger(deletions) ? deletions : changed.filter((line) => line.startsWith("-")).length,
    summary: head(changed.join("\n"), HEAD) || undefined,
  };
}

/** What a call did, in a few lines: enough to answer why a command failed. What was read is left out. */
export function summaryOf(tool: string, state: Fields): string {
  if (state.status === "error") return head(asText(state.error), HEAD);
  const given = asFields(state.input);
  const title = asText(state.title);
  if (SHELLS.has(tool)) return ofCommand(given, state);
  if (tool === "task") return [head(title, OUTPUT), head(asText(state.output), HEAD)].filter((part) => part).join("\n");
  // The path says it all, and stands in the event.
  if (given.filePath) return "";
  return head(title, OUTPUT) || (Object.keys(given).length ? head(JSON.stringify(given), OUTPUT) : "");
}

function ofCommand(given: Fields, state: Fields): string {
  const told = asFields(state.metadata);
  const exit = told.exit;
  const failed = exit !== 0 && exit !== undefined && exit !== null;
  const what = asText(given.description) || "Command";
  const output = asText(state.output) || asText(told.output);
  return [
    failed ? `${what}: failed with exit code ${JSON.stringify(exit)}` : what,
    `$ ${head(asText(given.command), COMMAND)}`,
    tail(output.trim(), failed ? FAILED_OUTPUT : OUTPUT),
  ]
    .filter((line) => line)
    .join("\n");
}

/** The path from the root on, not yet normalised. */
export function absolute(path: string, directory: string): string {
  return ABSOLUTE.test(path) ? path : `${directory}/${path}`;
}
