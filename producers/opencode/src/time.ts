/** Times as events have them: RFC 3339, in UTC, to the millisecond. */

const RFC3339 =
  /^([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))$/;
const MINUTE = 60_000;

/** A time can't be accepted. The message says what it should be. */
export class TimeInvalid extends Error {}

/**
 * A time in the one form that is stored: `2026-11-21T10:00:00.123Z`. What is finer than a millisecond is cut off.
 * Throws `TimeInvalid`, which says what it should be.
 */
export function utcMilliseconds(time: unknown): string {
  const text = time instanceof Date && !Number.isNaN(time.getTime()) ? time.toISOString() : time;
  const found = typeof text === "string" ? RFC3339.exec(text) : null;
  if (!found) throw new TimeInvalid("Input should be a time as RFC 3339 has it, with its offset from UTC");
  const [year, month, day, hour, minute, second] = found.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const offset = Number(found[9] ?? 0) * 60 + Number(found[10] ?? 0);
  const local = new Date(0);
  local.setUTCFullYear(year, month - 1, day);
  // A day that the month has not would have become one of the next.
  const exists = local.getUTCMonth() === month - 1 && local.getUTCDate() === day;
  if (!exists || year < 1 || hour > 23 || minute > 59 || second > 59 || offset >= 1440 || Number(found[10] ?? 0) > 59)
    throw new TimeInvalid("Input should be a valid datetime");
  local.setUTCHours(hour, minute, second, Number((found[7] ?? "").slice(0, 3).padEnd(3, "0")));
  const utc = new Date(local.getTime() - (found[8] === "-" ? -offset : offset) * MINUTE);
  if (utc.getUTCFullYear() < 1 || utc.getUTCFullYear() > 9999)
    throw new TimeInvalid("Input should be a time that is in the years 1 to 9999 in UTC");
  return utc.toISOString();
}
