import type { ScalingInput } from './autoscaling.ts';
import type { Observed, PoolerConfig } from './model.ts';

/**
 * What instances that answer say of their load. Clients of a database that is held back, or whose shard nobody serves, wait for a
 * server: another instance would give them none, and each that goes would drop some.
 */
export function loadsOf(
  { status }: Pick<PoolerConfig, 'status'>,
  { held, instances, targets }: Pick<Observed, 'held' | 'instances' | 'targets'>,
): ScalingInput['loads'] {
  const away = targets.filter(({ servedBy }) => servedBy === undefined).map(({ shard }) => shard);
  const unserved = (status?.databases ?? [])
    .filter(({ shard }) => away.includes(shard))
    .map(({ name }) => name);
  return instances.flatMap(({ pod, facts, cpuPercent }) => {
    if (facts.state !== 'present') return [];
    const isForServer = ({ database }: { readonly database: string }) =>
      unserved.includes(database) || held.has(`${pod.metadata.uid}/${database}`);
    const { waits } = facts.value;
    const own = waits.filter((wait) => !isForServer(wait));
    return [{ ...waitsTogether(own), waitsForServer: own.length < waits.length, cpuPercent }];
  });
}

/** How many clients wait in all of these, and how long the first of them has. */
export function waitsTogether(
  waits: readonly { readonly waiting: number; readonly maxWaitSeconds: number }[],
): { readonly waiting: number; readonly maxWaitSeconds: number } {
  return {
    waiting: waits.reduce((sum, { waiting }) => sum + waiting, 0),
    maxWaitSeconds: Math.max(0, ...waits.map(({ maxWaitSeconds }) => maxWaitSeconds)),
  };
}
