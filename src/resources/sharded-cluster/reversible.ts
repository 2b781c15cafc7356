import type { ShardedCluster } from './model.ts';

/** Why the buckets of a group stay where they are: its tables are being converted there, or can still be taken back. */
export function heldByConversion(
  { status }: Pick<ShardedCluster, 'status'>,
  group: string,
): string | undefined {
  const found = status?.conversions?.find((conversion) => conversion.group === group);
  if (found === undefined || found.phase === 'refused') return undefined;
  if (found.reversibleUntil === undefined) return 'its tables are being converted on this shard';
  return (
    `its tables were converted on this shard, and the way back is open until ${found.reversibleUntil}: wait, or write ` +
    '"conversion: { retention: 0s }" in the cluster to close it'
  );
}
