/**
 * Which shared memory a folder belongs to: the name of its group. The same as producers/group.py.
 *
 * `MEMLANE_GROUP`, else `slug(name)-` and the first 8 hex digits of the SHA-256 of a path: of the repository's common
 * git directory, so that a repository and all its worktrees share one memory, else of the folder itself. No `git` is
 * started: repositories are found as git finds them. Vectors for all languages: tests/vectors/groups.json.
 *
 * Source: https://git-scm.com/docs/gitrepository-layout (`gitdir:` files, `commondir`)
 */

import { createHash } from "node:crypto";
import { lstatSync, readFileSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

/** What a group may be called (Graphiti's rule). */
const GROUP = /^[A-Za-z0-9_-]{1,64}$/;
/** Longest slug, in characters. */
const SLUG_LIMIT = 48;
/** The slug of a name without any letter a to z or digit. */
const NAMELESS = "project";
/** Links that lead to links are followed so many times, as Linux does. */
const MOST_LINKS = 40;

/** `MEMLANE_GROUP` is no name of a group. The message says what one looks like. */
export class GroupInvalid extends Error {
  override name = "GroupInvalid";
}

/**
 * Group of a folder, existing or not. It reads files: ask once.
 *
 * Throws `GroupInvalid`.
 */
export function groupOf(directory: string, env: Readonly<Record<string, string | undefined>> = process.env): string {
  const given = env.MEMLANE_GROUP;
  if (given) {
    if (GROUP.test(given)) return given;
    const shown = JSON.stringify(given.slice(0, 80));
    throw new GroupInvalid(`MEMLANE_GROUP is ${shown}: a group is 1 to 64 of the characters A-Z, a-z, 0-9, _ and -`);
  }
  const here = realPath(directory);
  const common = commonGitDirectory(here);
  return common === null ? groupOfFolder(here) : groupOfRepository(common);
}

/** Group of the repository with this common git directory, given by its real path. */
export function groupOfRepository(common: string): string {
  // `.git`, and `.bare` where a bare repository lies among its worktrees, are named by their folder.
  const named = basename(common).startsWith(".") ? dirname(common) : common;
  return `${slug(basename(named).replace(/\.git$/, ""))}-${digest(common)}`;
}

/** Group of a folder outside of git, given by its real path. */
export function groupOfFolder(folder: string): string {
  return `${slug(basename(folder))}-${digest(folder)}`;
}

/** Lower case, all but a-z and 0-9 turned into single dashes, none at the ends, at most `SLUG_LIMIT` characters. */
export function slug(name: string): string {
  const found = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
  return found.slice(0, SLUG_LIMIT).replace(/-$/, "") || NAMELESS;
}

/**
 * Real path of the git directory that the folder's repository and its worktrees share; null outside of git. A `.git`
 * file that leads nowhere (a worktree whose repository is gone or not mounted) stands for the repository.
 */
export function commonGitDirectory(folder: string): string | null {
  for (let place = folder; ; place = dirname(place)) {
    try {
      const git = gitDirectory(place);
      if (git !== null) {
        // A worktree's own git directory names the common one.
        const named = namedDirectory(join(git, "commondir"));
        return realPath(named !== null && isDirectory(named) ? named : git);
      }
    } catch {
      // A folder that may not be entered holds no repository for this user.
    }
    if (dirname(place) === place) return null;
  }
}

/** Git directory of the working tree, or of the bare repository, whose top is this very folder. */
function gitDirectory(place: string): string | null {
  const dot = join(place, ".git");
  if (statSync(dot, { throwIfNoEntry: false })?.isFile()) {
    const named = namedDirectory(dot, "gitdir:");
    return named !== null && isDirectory(named) ? named : dot;
  }
  for (const path of [dot, place]) {
    // HEAD may be a link to a branch without commits.
    const head = lstatSync(join(path, "HEAD"), { throwIfNoEntry: false });
    if (head && isDirectory(join(path, "objects")) && isDirectory(join(path, "refs"))) return path;
  }
  return null;
}

/** The directory that a one-line file names, relative to the file; null if there is no such file or name. */
function namedDirectory(file: string, prefix = ""): string | null {
  let line: string;
  try {
    line = readFileSync(file, "utf8").replace(/[\r\n]+$/, "");
  } catch {
    return null;
  }
  const name = line.startsWith(prefix) ? line.slice(prefix.length).trim() : "";
  return name ? resolve(realPath(dirname(file)), name) : null;
}

/** The path with its links followed, as far as it exists. */
function realPath(path: string, links = 0): string {
  const whole = resolve(path);
  try {
    return realpathSync(whole);
  } catch {
    const parent = dirname(whole);
    if (parent === whole) return whole;
    const there = join(realPath(parent, links), basename(whole));
    const target = links < MOST_LINKS ? linkTarget(there) : null;
    return target === null ? there : realPath(resolve(dirname(there), target), links + 1);
  }
}

function linkTarget(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function digest(path: string): string {
  return createHash("sha256").update(path, "utf8").digest("hex").slice(0, 8);
}
