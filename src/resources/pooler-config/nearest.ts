/**
 * What somebody who wrote a name that there is not may have meant: the nearest of those that may be written and of those that
 * Herdsman makes itself, with what to use instead of these.
 */
export function meantBy(
  name: string,
  free: Iterable<string>,
  managed: Readonly<Record<string, string>>,
): string {
  const nearest = nearestTo(name, [...free, ...Object.keys(managed)]);
  const instead = managed[nearest];
  return `did you mean "${nearest}"?${instead === undefined ? '' : ` Herdsman makes that one: ${instead}`}`;
}

/** The candidate that is the fewest letters away from a name that is none of them. */
function nearestTo(name: string, candidates: Iterable<string>): string {
  const distances = [...candidates].map((candidate) => ({
    candidate,
    distance: distanceOf(name, candidate),
  }));
  distances.sort((a, b) => a.distance - b.distance || (a.candidate < b.candidate ? -1 : 1));
  return distances[0]?.candidate ?? '';
}

/** How many letters have to be changed, added or taken away (Levenshtein). */
function distanceOf(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
