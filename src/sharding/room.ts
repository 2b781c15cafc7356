/** What rows need where they are copied to, as a multiple of their size: indexes while they are built, and WAL. */
export const roomFactor = 1.3;
/** Part of a volume that may be filled. */
export const usableVolume = 0.9;

/** The smallest volume of a shard's members. */
export interface Volume {
  readonly bytes: number;
  /** Size that the spec asks for and that it has not grown to yet. */
  readonly growsTo?: string;
}

/** What makes room in a volume that has too little. */
export function wayToRoom({ growsTo }: Volume): string {
  return growsTo === undefined
    ? 'raise spec.storage.size'
    : `it waits until the volume has grown to ${growsTo}`;
}

/** Bytes as a text for people. */
export function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}

/** Room that something needs, as a text for people: about so much, and no less. */
export function neededRoom(bytes: number): string {
  return mebibytes(coarsely(bytes, Math.ceil));
}

/** Room that there is, as a text for people: about so much, and no more. */
export function freeRoom(bytes: number): string {
  return mebibytes(coarsely(bytes, Math.floor));
}

/** A segment of WAL. */
const leastStep = 16 * 2 ** 20;

/** In steps of a few percent: a status is written whenever its message is another, and sizes change with every write. */
function coarsely(bytes: number, round: (steps: number) => number): number {
  const step = Math.max(leastStep, 2 ** (Math.floor(Math.log2(bytes)) - 5));
  return round(bytes / step) * step;
}
