/** What the plugin is told, and what it says of what it can't understand. */

import { expect, test } from "bun:test";

import { optionsOf } from "../src/options.ts";

const [DEFAULTS] = optionsOf(undefined, {});

test("an option comes before the environment, and that before the default", () => {
  const environ = { MEMLANE_GROUP: "other", MEMLANE_RECALL_DEADLINE_MS: "100", MEMLANE_PUBLISH_DEADLINE_MS: "75" };
  const [options, problems] = optionsOf({ group: "shop", recallDeadlineMs: 500 }, environ);
  expect(problems).toEqual([]);
  expect(options).toEqual({ ...DEFAULTS, group: "shop", recallDeadlineMs: 500, publishDeadlineMs: 75 });
});

test.each([
  ["group", "a b"],
  ["group", 7],
  ["recallDeadlineMs", -1],
  ["recallDeadlineMs", "soon"],
  // No timer waits for so long: it would be over at once.
  ["publishDeadlineMs", 2 ** 31],
  ["sessionIdleMinutes", 1e6],
  ["sessionIdleMinutes", Infinity],
  ["recallTokens", 1.5],
  ["inject", "yes"],
  ["compaction", "never"],
  ["thresholds", { yellow: 90, red: 80 }],
])("option %p can't be %p", (name, value) => {
  const problems = [`option ${name} can't be understood and is left out`];
  expect(optionsOf({ [name]: value }, {})).toEqual([DEFAULTS, problems]);
});

test("a variable that can't be understood gives way to the default", () => {
  const problems = ["MEMLANE_RECALL_DEADLINE_MS can't be understood and is left out"];
  expect(optionsOf({}, { MEMLANE_RECALL_DEADLINE_MS: "soon" })).toEqual([DEFAULTS, problems]);
});

test("an option that there isn't is named", () => {
  expect(optionsOf({ grup: "shop" }, {})).toEqual([DEFAULTS, ["there is no option grup"]]);
});

test.each([[7], ["text"], [["shop"]]])("options that are %p count as none", (given) => {
  const problems = ['options must be an object, as in ["…/index.ts", {"group": "shop"}]'];
  expect(optionsOf(given, {})).toEqual([DEFAULTS, problems]);
});
