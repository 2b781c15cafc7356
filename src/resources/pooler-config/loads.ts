import type { ScalingInput } from './autoscaling.ts';
import type { Observed, ObservedInstance } from './model.ts';

/** Whether clients of an instance are held back by this process. */
export function holdsBack({ held }: Pick<Observed, 'held'>, { pod }: Pick<ObservedInstance, 'pod'>): boolean {
  return [...held].some((key) => key.startsWith(`${pod.metadata.uid}/`));
}

/**
 * What instances that answer say of their load. Clients that are held back, or that nobody serves, wait for a server: another
 * instance would give them none.
 */
export function loadsOf(observed: Pick<Observed, 'held' | 'instances' | 'targets'>): ScalingInput['loads'] {
  const isAnyAway = observed.targets.some(({ servedBy }) => servedBy === undefined);
  return observed.instances.flatMap((instance) => {
    const { facts, cpuPercent } = instance;
    if (facts.state !== 'present') return [];
    if (isAnyAway || holdsBack(observed, instance)) return [{ waiting: 0, maxWaitSeconds: 0, cpuPercent }];
    const { waiting, maxWaitSeconds } = facts.value;
    return [{ waiting, maxWaitSeconds, cpuPercent }];
  });
}
