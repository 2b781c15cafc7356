import {
  componentLabel,
  podOrdinal,
  replicaSetLabel,
  scope,
  scopeLabel,
  shardLabel,
  shardLabels,
} from '../sharded-cluster/names.ts';

/** Label by which the Service of a set selects: `in` its members in rotation, `out` and `draining` the others. */
export const rotationLabel = 'herdsman.dev/rotation';

/** Whether the Service leads to a member. */
export type Rotation = 'in' | 'out' | 'draining';

/** StatefulSet, headless Service, ServiceAccount, Role, PDB of a set in a shard: `readers-s0-replicas`. */
export function replicasName(set: string, shard: string): string {
  return `${set}-${shard}-replicas`;
}

/** Service through which a shard is read: `readers-s0-read`. */
export function readService(set: string, shard: string): string {
  return `${set}-${shard}-read`;
}

/** ConfigMap with `patroni.yml` of the members: `readers-s0-replicas-patroni`. */
export function replicasConfigMap(set: string, shard: string): string {
  return `${replicasName(set, shard)}-patroni`;
}

/** Name of a member's pod: `readers-s0-replicas-0`. */
export function replicaPod(set: string, shard: string, ordinal: number): string {
  return `${replicasName(set, shard)}-${ordinal}`;
}

/** Ordinal of the member with the pod's name; `undefined` if the pod is not of this set and shard. */
export function replicaOrdinal(set: string, shard: string, pod: string): number | undefined {
  const prefix = `${replicasName(set, shard)}-`;
  return pod.startsWith(prefix)
    ? podOrdinal(set, shard, `${scope(set, shard)}-${pod.slice(prefix.length)}`)
    : undefined;
}

/** Labels of everything that belongs to a set in a shard. */
export function setLabels(cluster: string, set: string, shard: string): Record<string, string> {
  return { ...shardLabels(cluster, shard), [replicaSetLabel]: set };
}

/** Labels of a member's pod and volume; Patroni finds it by those that it shares with the members of the shard. */
export function replicaLabels(cluster: string, set: string, shard: string): Record<string, string> {
  return {
    ...setLabels(cluster, set, shard),
    [componentLabel]: 'replica',
    [scopeLabel]: scope(cluster, shard),
  };
}

/** The few labels that select the members of a set in a shard; they never change. */
export function replicaSelector(set: string, shard: string): Record<string, string> {
  return { [componentLabel]: 'replica', [replicaSetLabel]: set, [shardLabel]: shard };
}
