import { paint } from './screen.ts';

/** Where a bucket is. */
export interface BucketPlace {
  readonly bucket: number;
  /** Its owner. */
  readonly shard: string;
  /** Where it is going, if it is. */
  readonly to: string | undefined;
}

const colours = ['cyan', 'magenta', 'yellow', 'green'] as const;

/**
 * A line for each shard, with a column for each bucket in the colour of the shard that had it at first: █ where it is, ▒ where
 * it leaves, ░ where it arrives.
 */
export function drawBuckets(
  places: readonly BucketPlace[],
  before: readonly BucketPlace[],
  shards: readonly string[],
): string[] {
  const home = new Map(before.map(({ bucket, shard }) => [bucket, shard]));
  return shards.map((name) => {
    const cells = places.map(({ bucket, shard, to }) => {
      const index = Number((home.get(bucket) ?? 's0').slice(1));
      const colour = colours[index % colours.length] ?? 'cyan';
      if (shard === name) return paint(colour, to === undefined ? '█' : '▒');
      return to === name ? paint(colour, '░') : paint('dim', '·');
    });
    const owned = places.filter(({ shard }) => shard === name).length;
    return `${name.padEnd(4)}${cells.join('')}  ${String(owned).padStart(2)} buckets`;
  });
}
