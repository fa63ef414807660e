/** Paths in the form in which events hold them. Vectors for all languages are among those of tests/vectors/events.json. */

const WINDOWS = /^(?:[A-Za-z]:[\\/]|\\\\)/;
/** Any one character, as Unicode counts, a colon and a slash. */
const DRIVE = /^[^]:(?=\/)/u;

/**
 * A path relative to the project, POSIX, `.` and `..` resolved lexically; absolute where it lies outside of it.
 * Normalising it again changes nothing.
 *
 * Whether backslashes separate is decided by the project, else by the path. A project that isn't absolute says nothing
 * about where paths are.
 */
export function normalPath(path: string, project?: string | null): string {
  const place = project && (project.startsWith("/") || WINDOWS.test(project)) ? project : undefined;
  const windows = WINDOWS.test(place ?? path);
  const root = place === undefined ? undefined : lexical(place, windows);
  const absolute = path.startsWith("/") || (windows && WINDOWS.test(path));
  const whole = lexical(root === undefined || absolute ? path : `${root}/${path}`, windows);
  if (root === undefined) return whole;
  if (whole === root) return ".";
  const inside = root.endsWith("/") ? root : `${root}/`;
  return whole.startsWith(inside) ? whole.slice(inside.length) : whole;
}

/** The path with `.`, `..` and doubled slashes resolved, and POSIX separators. */
function lexical(path: string, windows: boolean): string {
  let drive = "";
  let rest = path;
  if (windows) {
    rest = rest.replaceAll("\\", "/");
    drive = DRIVE.exec(rest)?.[0] ?? "";
    rest = rest.slice(drive.length);
  }
  const absolute = rest.startsWith("/");
  const names: string[] = [];
  for (const name of rest.split("/")) {
    if (name === "" || name === ".") continue;
    if (name !== ".." || (!absolute && names.length === 0) || names[names.length - 1] === "..") names.push(name);
    else names.pop();
  }
  return drive + ((absolute ? "/" : "") + names.join("/") || ".");
}
