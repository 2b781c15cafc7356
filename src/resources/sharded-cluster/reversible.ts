import type { ShardedCluster } from './model.ts';

/** Why the buckets of a group stay where they are: the tables were converted there, and can still be taken back. */
export function heldByConversion(
  { status }: Pick<ShardedCluster, 'status'>,
  group: string,
): string | undefined {
  const until = status?.conversions?.find((conversion) => conversion.group === group)?.reversibleUntil;
  if (until === undefined) return undefined;
  return (
    `its tables were converted on this shard, and the way back is open until ${until}: wait, or write ` +
    '"conversion: { retention: 0s }" in the cluster to close it'
  );
}
