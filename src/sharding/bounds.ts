import type { Bound } from '../api/v1alpha1/table.ts';
import type { Problem } from './problem.ts';

const decimal = /^-?[0-9]+(\.[0-9]+)?$/;
/** Texts whose order is that of the values, whatever the collation: ISO dates and times of one form, and UUIDs. */
const sortable = [
  /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/,
  /^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?$/,
  /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
];

/**
 * Order of two bounds, where the texts alone tell it: below, at or above zero. `undefined` where only PostgreSQL knows (a
 * type or a collation decides): `readBoundProblems` asks it.
 */
export function compareBounds(a: string, b: string): number | undefined {
  if (a === b) return 0;
  if (decimal.test(a) && decimal.test(b)) return compareDecimals(a, b);
  if (sortable.some((form) => form.test(a) && form.test(b))) return a < b ? -1 : 1;
  return undefined;
}

function compareDecimals(a: string, b: string): number {
  const digits = Math.max(fraction(a).length, fraction(b).length);
  const difference = scaled(a, digits) - scaled(b, digits);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

function fraction(text: string): string {
  return text.split('.')[1] ?? '';
}

function scaled(text: string, digits: number): bigint {
  return BigInt((text.split('.')[0] ?? '') + fraction(text).padEnd(digits, '0'));
}

/** Overlaps, gaps and empty ranges among the bounds of a range group; both ends may stay open. */
export function boundProblems(group: string, bounds: readonly Bound[], hasDefault: boolean): Problem[] {
  const problems: Problem[] = [];
  const add = (code: string, message: string) =>
    problems.push({ code, message: `group "${group}": ${message}` });
  for (const bound of bounds) {
    if (bound.from === undefined || bound.to === undefined) continue;
    if ((compareBounds(bound.from, bound.to) ?? -1) < 0) continue;
    problems.push(emptyRange(group, bound));
  }
  for (const [index, bound] of bounds.entries()) {
    const next = bounds[index + 1];
    if (next === undefined) continue;
    if (bound.to === undefined || next.from === undefined) {
      add(
        'overlap',
        `ranges ${text(bound)} and ${text(next)} overlap: only the first may lack "from", only the last "to"`,
      );
      continue;
    }
    const order = compareBounds(bound.to, next.from);
    if (order === 0) continue;
    if (order !== undefined && order > 0) {
      add('overlap', `ranges ${text(bound)} and ${text(next)} overlap: start the second at "${bound.to}"`);
    } else if (!hasDefault) {
      add(
        'gap',
        `nothing takes the keys from "${bound.to}" to "${next.from}": start the second range at "${bound.to}", ` +
          'or write "defaultBucket: true"',
      );
    }
  }
  return problems;
}

/** A range that takes no key; `order` says by what that is known. */
export function emptyRange(group: string, bound: Bound, order = ''): Problem {
  return {
    code: 'empty-range',
    message: `group "${group}": range ${text(bound)} is empty${order}: "from" is inclusive and must be below "to"`,
  };
}

/** Two ranges that take the same keys. */
export function overlap(group: string, bound: Bound, other: Bound, order: string): Problem {
  return {
    code: 'overlap',
    message:
      `group "${group}": ranges ${text(bound)} and ${text(other)} overlap${order}: ` +
      'write them in ascending order, each from where the one before ends, or later',
  };
}

function text(bound: Bound): string {
  return `${bound.from ?? 'MINVALUE'} to ${bound.to ?? 'MAXVALUE'}`;
}
