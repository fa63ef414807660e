import { describe, expect, test } from "bun:test";
import { redact, redactText } from "../src/privacy.ts";
import { vectors } from "./vectors.ts";

interface Vectors {
  cases: { name: string; text: string | string[]; redacted: string | string[] }[];
}

function joined(parts: string | string[]): string {
  return typeof parts === "string" ? parts : parts.join("");
}

describe("vectors", () => {
  for (const { name, text, redacted } of (vectors("privacy") as Vectors).cases)
    test(name, () => {
      expect(redactText(joined(text))).toBe(joined(redacted));
      expect(redactText(joined(redacted))).toBe(joined(redacted));
    });
});

describe("redact", () => {
  test("leaves the very same value if there is nothing to remove", () => {
    const value = { path: "src/cart.py", todos: [{ content: "count the tokens" }], tokens: { input: 3 }, none: null };

    expect(redact(value)).toBe(value);
  });

  test("removes what the names of keys call secret", () => {
    const auth = Buffer.from("deploy:hunter2").toString("base64");

    expect(
      redact({
        dbPassword: "correct horse battery staple",
        PGPASSWORD: 12345678,
        access_token: ["one-1", "abcdef123456"],
        auths: { "registry.example.org": { auth } },
        password_file: "/run/secrets/db2",
      }),
    ).toEqual({
      dbPassword: "[redacted:password]",
      PGPASSWORD: "[redacted:password]",
      access_token: ["one-1", "[redacted:token]"],
      auths: { "registry.example.org": { auth: "[redacted:docker-auth]" } },
      password_file: "/run/secrets/db2",
    });
  });

  test("keeps private text in its own field", () => {
    expect(redact({ a: "x <private> y", b: "z" })).toEqual({ a: "x [private]", b: "z" });
  });

  test("removes what is nested beyond all measure", () => {
    let deep: unknown = "ghp_";
    for (let level = 0; level < 100_000; level++) deep = [deep];

    expect(JSON.stringify(redact({ deep, password: "swordfish" }))).toContain("[redacted:too-deep]");
  });
});

describe("time grows with the text and no faster", () => {
  const ADVERSARIES = {
    letters: "a",
    digits: "4",
    cards: "4111111111111111 ",
    passwords: "password=",
    "passwords in capitals": "PASSWORD=a1",
    "quoted passwords": 'password="',
    "strong passwords": 'password="aB1!',
    private: "<private>",
    "private, not closed": "<private ",
    "private keys": "-----BEGIN",
    "heads of private keys": "-----BEGIN PRIVATE KEY-----\n",
    tokens: "eyJhbGciOiJI.",
    urls: "://a:b",
    keys: "api_key=",
    "almost runs": "aaaaaaaaaaaaaaaaaaa ",
    backslashes: "\\",
    "beyond ascii": "Кириллица token=",
    emoji: "👍 token=",
    secrets: "secret_access_key=",
    authorization: "authorization: bearer basic ",
  };

  function seconds(text: string): number {
    const start = process.cpuUsage();
    redactText(text);
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1e6;
  }

  function least(text: string): number {
    return Math.min(...Array.from({ length: 3 }, () => seconds(text)));
  }

  for (const [name, unit] of Object.entries(ADVERSARIES))
    test(name, () => {
      const small = unit.repeat(65_536 / unit.length + 1).slice(0, 65_536);
      seconds(small);
      // What is quadratic would take four times as long for twice the text.
      const ratios = [];
      for (let tries = 0; tries < 5; tries++) {
        ratios.push(least(small + small) / Math.max(least(small), 1e-3));
        if (Math.min(...ratios) < 3) break;
      }
      expect(Math.min(...ratios)).toBeLessThan(3);
    });
});
