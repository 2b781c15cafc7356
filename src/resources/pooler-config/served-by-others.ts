import type { ObservedTarget, PlanInput, PoolerConfig } from './model.ts';

/** Whether others serve a shard than those that instances were told of last; not while nobody does. */
export function isServedByOthers(
  { status }: Pick<PoolerConfig, 'status'>,
  shard: string,
  servedBy: string | undefined,
): boolean {
  const before = status?.primaries?.[shard];
  return servedBy !== undefined && before !== undefined && before !== servedBy;
}

/** The shards that others serve than those that instances were told of; not those that changed behind the gate. */
export function movedTargets({ pooler, observed }: Pick<PlanInput, 'pooler' | 'observed'>): ObservedTarget[] {
  return observed.targets.filter(
    ({ shard, servedBy }) => isServedByOthers(pooler, shard, servedBy) && !observed.switched.has(shard),
  );
}
