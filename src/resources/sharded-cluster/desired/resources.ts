import type { V1ResourceRequirements } from '@kubernetes/client-node';
import type { ShardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** The record without the keys whose value is undefined, which JSON would drop as well. */
export function withoutUndefined<T extends object>(record: T): Defined<T> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as Defined<T>;
}

/** What a container is given, as far as a spec says. */
export function definedResources({
  requests,
  limits,
}: ShardedClusterSpec['resources']): V1ResourceRequirements {
  return {
    ...(requests === undefined ? {} : { requests: withoutUndefined(requests) }),
    ...(limits === undefined ? {} : { limits: withoutUndefined(limits) }),
  };
}
