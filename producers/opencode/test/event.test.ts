import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { generated } from "../scripts/schema.ts";
import { create, EventInvalid, type Fields, MAX_EVENT_BYTES } from "../src/event.ts";
import { built, vectors } from "./vectors.ts";

interface Case {
  name: string;
  input: Record<string, unknown>;
  outcome: { event?: unknown; error?: string };
}

const CASES = vectors("events") as Case[];
const DEFAULTS = { source: "opencode", group: "shop" };
const VALID = { id: "e1", type: "x.y", time: "2026-11-21T10:00:00.123Z", data: {} };

function made(fields: unknown): Record<string, unknown> {
  return JSON.parse(create(fields as Fields, DEFAULTS).json) as Record<string, unknown>;
}

function refusal(fields: unknown): string {
  try {
    create(fields as Fields, DEFAULTS);
  } catch (error) {
    if (error instanceof EventInvalid) return error.message;
    throw error;
  }
  throw new Error("it was accepted");
}

describe("vectors", () => {
  // What a producer leaves out is filled in.
  const filled = new Set([
    "without id",
    "without source",
    "without time",
    "without group",
    "group: null",
    "time: null",
  ]);

  for (const { name, input, outcome } of CASES) {
    test(name, () => {
      const given = built(input);
      if (outcome.event !== undefined) expect(made(given)).toEqual(built(outcome.event) as Record<string, unknown>);
      else if (filled.has(name)) expect(made(given)).toMatchObject({ specversion: "1.0", data: { path: "a.py" } });
      else expect(refusal(given)).toStartWith(`${outcome.error ?? ""}:`);
    });
  }
});

test("types and shapes are made from the schema as it is now", async () => {
  // If not: bun scripts/schema.ts
  expect(readFileSync(new URL("../src/schema.ts", import.meta.url), "utf8")).toBe(await generated());
});

describe("create", () => {
  test("fills in what a producer leaves out", () => {
    const before = Date.now();
    const { event, json } = create({ type: "file.write", data: { path: "a.py", additions: 4 } }, DEFAULTS);

    expect(event.id).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/);
    expect(Date.parse(event.time)).toBeWithin(before, Date.now() + 1);
    expect([event.source, event.group, event.subject]).toEqual(["opencode", "shop", "a.py"]);
    expect(JSON.parse(json)).toEqual(event);
  });

  test("leaves what it is given as it is", () => {
    const fields = {
      ...VALID,
      project: "/p",
      data: { path: "/p/a.py", text: "x".repeat(40_000), password: "swordfish" },
    };
    const copy = structuredClone(fields);
    create(fields, DEFAULTS);

    expect(fields).toEqual(copy);
  });

  test("has one form whatever the order of attributes", () => {
    const json = create(
      {
        data: { b: undefined, a: [undefined, null] },
        x: 1,
        type: "x.y",
        "7": 2,
        time: new Date(0),
        id: "e",
        session: "s",
      },
      DEFAULTS,
    ).json;

    expect(json).toBe(
      '{"specversion":"1.0","id":"e","source":"opencode","type":"x.y","time":"1970-01-01T00:00:00.000Z",' +
        '"group":"shop","session":"s","7":2,"x":1,"data":{"a":[null,null]}}',
    );
  });

  test("takes what JSON.stringify takes", () => {
    class Message {
      text = "hello";
      at = new Date(0);
    }
    const data = { message: new Message(), url: new URL("https://example.org/x"), done: () => 1 };

    expect(made({ ...VALID, data }).data).toEqual({
      message: { text: "hello", at: "1970-01-01T00:00:00.000Z" },
      url: "https://example.org/x",
    });
  });

  test("removes the password of a URL that is not yet text", () => {
    const url = new URL("postgresql://shop:k3yOfTheShop1@db/shop");

    expect(made({ ...VALID, data: { url } }).data).toEqual({
      url: "postgresql://shop:[redacted:url-password]@db/shop",
    });
  });

  test("refuses what holds itself, and numbers that are none", () => {
    const circle: Record<string, unknown> = { left: {}, right: {} };
    circle.left = circle.right = [circle, circle];

    expect(refusal({ ...VALID, data: circle })).toBe("event: nested deeper than 64 levels");
    expect(refusal({ ...VALID, data: { x: NaN } })).toStartWith("event: holds a number");
    expect(refusal({ ...VALID, data: { x: 7n } })).toStartWith("event: holds a bigint");
    expect(refusal({ ...VALID, time: new Date(NaN) })).toStartWith("time: ");
  });

  test("names every wrong field and none of what is in them", () => {
    const secret = "hunter2-correct-horse";
    const message = refusal({ type: secret + " ", session: [secret], data: { path: "a" }, id: "x".repeat(129) });

    expect(message).toBe(
      "id: String should have at most 128 characters; type: String should match pattern " +
        "'^[A-Za-z0-9_.:-]{1,128}$'; session: Input should be a valid string",
    );
    expect(refusal({ type: "file.write", data: { path: 7, additions: secret } })).toBe(
      "data.path: Input should be a valid string; data.additions: Input should be a valid integer",
    );
  });

  test("has the largest size of an event as JSON in UTF-8", () => {
    const size = (text: string) => Buffer.byteLength(create({ ...VALID, x: text }, DEFAULTS).json);
    const room = MAX_EVENT_BYTES - size("");

    expect(size("é".repeat(room >> 1) + "x".repeat(room & 1))).toBe(MAX_EVENT_BYTES);
    expect(refusal({ ...VALID, x: "x".repeat(room + 1) })).toStartWith(
      "event: 262145 bytes of JSON are above the limit",
    );
  });

  test("keeps keys that mean something in JavaScript", () => {
    const fields = JSON.parse('{"__proto__": {"x": 1}, "constructor": {"__proto__": [2]}}') as Record<string, unknown>;
    const { json } = create({ ...VALID, data: { ...fields, text: "\0" } }, DEFAULTS);

    expect(json).toEndWith('"data":{"__proto__":{"x":1},"constructor":{"__proto__":[2]},"text":"\ufffd"}}');
    expect(refusal({ ...VALID, type: "file.write", data: JSON.parse('{"__proto__": {"path": "a"}}') as unknown })).toBe(
      "data.path: Field required",
    );
    expect(made({ ...VALID, type: "constructor" }).type).toBe("constructor");
  });
});
