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
