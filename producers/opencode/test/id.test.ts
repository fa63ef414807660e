import { describe, expect, test } from "bun:test";
import { nativeId, nativeOfTodos, ulid } from "../src/id.ts";
import { vectors } from "./vectors.ts";

interface Vectors {
  ids: { source: string; session: string; type: string; native: string; status?: string; id: string }[];
  todos: { todos: { content: string; status: string; priority: string }[]; native: string }[];
}

const { ids, todos } = vectors("ids") as Vectors;

describe("vectors", () => {
  for (const { source, session, type, native, status, id } of ids)
    test(`${type} ${native}`, () => {
      expect(nativeId(source, session, type, native, status)).toBe(id);
    });
  for (const { todos: list, native } of todos)
    test(`${list.length} todos`, () => {
      expect(nativeOfTodos(list)).toBe(native);
    });
});

test("ULIDs are unique and sorted by time", () => {
  const made = Array.from({ length: 1000 }, () => ulid());

  expect(new Set(made).size).toBe(1000);
  expect(made.every((id) => /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(id))).toBe(true);
  // The example of the specification.
  expect(ulid(1469918176385)).toStartWith("01ARYZ6S41");
  expect(ulid(1) < ulid(2)).toBe(true);
});
