import type { PoolerConfig } from './model.ts';

/** Whether others serve a shard than those that instances were told of last; not while nobody does. */
export function isServedByOthers(
  { status }: Pick<PoolerConfig, 'status'>,
  shard: string,
  servedBy: string | undefined,
): boolean {
  const before = status?.primaries?.[shard];
  return servedBy !== undefined && before !== undefined && before !== servedBy;
}
