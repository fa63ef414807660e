/**
 * Runs calls that come as lines of JSON, `["create", fields, {source, group}]`, and answers each with a line:
 * `{"value": …}`, or `{"error": …}`. So tests in Python can compare both languages.
 */

import { create, EventInvalid } from "../src/event.ts";
import { groupOf } from "../src/group.ts";
import { nativeId, nativeOfTodos } from "../src/id.ts";
import { redact, redactText } from "../src/privacy.ts";

type Call = (...given: never[]) => unknown;

const CALLS: Record<string, Call> = {
  create: (fields: never, defaults: never) => create(fields, defaults).json,
  redact,
  redactText,
  nativeId,
  nativeOfTodos,
  groupOf,
};

function answer(line: string): unknown {
  const [name, ...given] = JSON.parse(line) as [string, ...never[]];
  const call = CALLS[name];
  if (!call) throw new Error(`no call ${name}`);
  try {
    return { value: call(...given) };
  } catch (error) {
    if (error instanceof EventInvalid) return { error: error.message };
    throw error;
  }
}

const answers: string[] = [];
for (const line of (await Bun.stdin.text()).split("\n")) if (line) answers.push(JSON.stringify(answer(line)));
await Bun.write(Bun.stdout, `${answers.join("\n")}\n`);
