/** Plans: the Markdown files of one folder of the project. Only read, and nothing outside of that folder. */

import { readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join, resolve, sep } from "node:path";

import { NoAnswer } from "./asking.ts";

/** Most plans that are listed, and most characters of one that are shown. */
const MOST_PLANS = 100;
const MOST_CHARACTERS = 50_000;

/** The list of plans, or one of them. Throws `NoAnswer`, which says what there is. */
export function plans(project: string, folder: string, read: string): string {
  const place = resolve(project, folder);
  const found = listed(place);
  if (read) return one(place, folder, read, found);
  if (!found.length) return `No plans: there is no Markdown file in ${folder}.`;
  const rows = found.map(
    ({ name, time, bytes }) => `- ${name} (${new Date(time).toISOString().slice(0, 16)}Z, ${bytes} bytes)`,
  );
  return [
    `# Plans in ${folder}`,
    "",
    ...rows,
    "",
    '`memory` with tool `plans` and args {"read": "NAME"} shows one.',
  ].join("\n");
}

interface Plan {
  name: string;
  time: number;
  bytes: number;
}

/** Plans, the latest first. */
function listed(place: string): Plan[] {
  let names: string[];
  try {
    names = readdirSync(place, { recursive: true, encoding: "utf8" });
  } catch {
    return [];
  }
  const found: Plan[] = [];
  for (const name of names.filter((name) => name.endsWith(".md")).slice(0, 10 * MOST_PLANS)) {
    const known = within(place, name) ? statSync(join(place, name), { throwIfNoEntry: false }) : undefined;
    if (known?.isFile()) found.push({ name, time: known.mtimeMs, bytes: known.size });
  }
  return found.sort((one, other) => other.time - one.time).slice(0, MOST_PLANS);
}

function one(place: string, folder: string, read: string, found: Plan[]): string {
  const name = [read, `${read}.md`].find((name) => found.some((plan) => plan.name === name));
  if (name === undefined || !within(place, name)) {
    const names = found.map((plan) => plan.name).join(", ") || "none";
    throw new NoAnswer(`read: there is no plan ${JSON.stringify(read.slice(0, 80))} in ${folder}; there are: ${names}`);
  }
  const text = readFileSync(join(place, name), "utf8");
  return text.length > MOST_CHARACTERS ? text.slice(0, MOST_CHARACTERS) + "\n…" : text;
}

/** Whether a file really lies in the folder: not by `..`, nor by a link that leads out. */
function within(place: string, name: string): boolean {
  try {
    const root = realpathSync(place);
    return realpathSync(join(place, name)).startsWith(root + sep);
  } catch {
    return false;
  }
}
