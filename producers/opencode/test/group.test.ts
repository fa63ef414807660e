import { describe, expect, test } from "bun:test";
import { GroupInvalid, groupOf, groupOfFolder, groupOfRepository, slug } from "../src/group.ts";
import { vectors } from "./vectors.ts";

interface Vectors {
  slugs: { name: string; slug: string }[];
  groups: { git?: string; folder?: string; group: string }[];
  given: { value: string; valid: boolean }[];
}

const { slugs, groups, given } = vectors("groups") as Vectors;

describe("vectors", () => {
  for (const { name, slug: expected } of slugs)
    test(`slug of ${JSON.stringify(name)}`, () => {
      expect(slug(name)).toBe(expected);
    });
  for (const { git, folder = "", group } of groups)
    test(group, () => {
      expect(git === undefined ? groupOfFolder(folder) : groupOfRepository(git)).toBe(group);
    });
  for (const { value, valid } of given)
    test(`given: ${JSON.stringify(value)}`, () => {
      const group = () => groupOf("/", { MEMLANE_GROUP: value });
      if (valid) expect(group()).toBe(value);
      else expect(group).toThrow(GroupInvalid);
    });
});

test("an empty group is none", () => {
  expect(groupOf("/", { MEMLANE_GROUP: "" })).toBe(groupOf("/", {}));
});
