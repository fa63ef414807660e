import { expect, test } from "bun:test";
import { shared } from "../src/files.ts";

test("shared files are found in the source tree", () => {
  expect(shared("lua/publish.lua")).toContain("XADD");
  expect(JSON.parse(shared("privacy/rules.json"))).toMatchObject({ version: 1 });
});

test("a missing one is named", () => {
  expect(() => shared("lua/none.lua")).toThrow("none.lua is missing");
});
