import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import type { ShardedCluster } from '../model.ts';
import { shardName } from '../names.ts';
import { role, roleBinding, serviceAccount } from './access.ts';
import { serverParameters } from './parameters.ts';
import { patroniConfig } from './patroni-config.ts';
import { podDisruptionBudget } from './pod-disruption-budget.ts';
import { headlessService, readOnlyService, readWriteService } from './services.ts';
import { type StatefulSetOptions, statefulSet } from './stateful-set.ts';

/** What the objects of a shard depend on beside the ShardedCluster. */
export interface DesiredOptions extends StatefulSetOptions {
  /** Parameters that a new shard starts with; default: all that the spec yields. */
  readonly parameters?: Readonly<Record<string, string>>;
}

/**
 * The objects of a shard that the ShardedCluster owns, in order of creation: pods find their rights, configuration and
 * Services there. Secrets (see `tls-secrets.ts`, `credentials.ts`) come before them.
 */
export function desiredObjects(
  cluster: ShardedCluster,
  shardIndex: number,
  options: DesiredOptions,
): KubernetesObject[] {
  const shard = shardName(shardIndex);
  const parameters = options.parameters ?? serverParameters(cluster.spec);
  return [
    serviceAccount(cluster, shard),
    role(cluster, shard),
    roleBinding(cluster, shard),
    patroniConfig(cluster, shard, parameters),
    headlessService(cluster, shard),
    readWriteService(cluster, shard),
    readOnlyService(cluster, shard),
    podDisruptionBudget(cluster, shard),
    statefulSet(cluster, shard, options),
  ];
}
