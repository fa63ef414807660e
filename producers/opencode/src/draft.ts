/** Events before they are checked and encoded: what `capture` makes, and what the publisher takes. */

import { create } from "./event.ts";
import { nativeId } from "./id.ts";
import type { Fields } from "./values.ts";

/** What these events name as their source, as the importer does. */
export const SOURCE = "opencode";

/** An event before it is checked. */
export interface Draft {
  type: string;
  session: string | undefined;
  data: Fields;
  /** Epoch ms. */
  time: number;
  /** OpenCode's own id of what happened: makes a live event and its later import the same one. */
  native?: string | undefined;
  status?: string | undefined;
  agent?: string | undefined;
  /** Root of the project, absolute. */
  project: string;
  group: string;
}

/** An event as it is published: its group, its JSON, and the paths that it writes to. */
export interface Encoded {
  group: string;
  json: string;
  written: string[];
}

/** Checks, redacts and encodes a draft. Throws `EventInvalid` if it holds what no event can. */
export function encode(draft: Draft): Encoded {
  const { type, session, data, time, native, status, agent, project, group } = draft;
  const id = native && session ? nativeId(SOURCE, session, type, native, status) : undefined;
  const known = Object.fromEntries(Object.entries(data).filter(([, value]) => value !== undefined && value !== null));
  const when = new Date(time).toISOString();
  const { event, json } = create(
    { id, type, time: when, session, agent, project, data: known },
    { source: SOURCE, group },
  );
  const path = event.data.path;
  return { group, json, written: type === "file.write" && typeof path === "string" && path ? [path] : [] };
}
