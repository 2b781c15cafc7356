const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A thousand years: what is meant to be for ever still has to end at a date that can be written down. */
const longestMs = 365_250 * 86_400_000;

/** Milliseconds of a duration such as `30s` or `7d`, a thousand years at most; `undefined` when it is none. */
export function durationMs(text: string): number | undefined {
  const match = /^([0-9]+)(ms|s|m|h|d)$/.exec(text);
  const unit = units[match?.[2] ?? ''];
  return match === null || unit === undefined ? undefined : Math.min(Number(match[1]) * unit, longestMs);
}
