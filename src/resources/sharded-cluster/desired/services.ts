import type { V1ServicePort, V1ServiceSpec } from '@kubernetes/client-node';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import type { ShardedCluster } from '../model.ts';
import {
  headlessService as headlessServiceName,
  memberSelector,
  patroniPort,
  postgresPort,
  readOnlyService as readOnlyServiceName,
  readWriteService as readWriteServiceName,
  roleLabel,
} from '../names.ts';
import { ownedMetadata } from './owned-object.ts';

/** A core/v1 Service. */
export interface Service extends KubernetesObject {
  spec: V1ServiceSpec;
}

const postgres: V1ServicePort = {
  name: 'postgres',
  port: postgresPort,
  targetPort: 'postgres',
  protocol: 'TCP',
};
const patroni: V1ServicePort = {
  name: 'patroni',
  port: patroniPort,
  targetPort: 'patroni',
  protocol: 'TCP',
};

/** Host names for the members, ready or not: they must find one another to become ready. */
export function headlessService(cluster: ShardedCluster, shard: string): Service {
  return service(cluster, shard, headlessServiceName(cluster.metadata.name, shard), {
    clusterIP: 'None',
    publishNotReadyAddresses: true,
    selector: memberSelector(cluster.metadata.name, shard),
    ports: [postgres, patroni],
  });
}

/** The primary of the shard. */
export function readWriteService(cluster: ShardedCluster, shard: string): Service {
  return roleService(cluster, shard, readWriteServiceName(cluster.metadata.name, shard), 'primary');
}

/** The standbys of the shard. */
export function readOnlyService(cluster: ShardedCluster, shard: string): Service {
  return roleService(cluster, shard, readOnlyServiceName(cluster.metadata.name, shard), 'replica');
}

function roleService(
  cluster: ShardedCluster,
  shard: string,
  name: string,
  role: 'primary' | 'replica',
): Service {
  return service(cluster, shard, name, {
    type: 'ClusterIP',
    selector: { ...memberSelector(cluster.metadata.name, shard), [roleLabel]: role },
    ports: [postgres],
  });
}

function service(cluster: ShardedCluster, shard: string, name: string, spec: V1ServiceSpec): Service {
  return { apiVersion: 'v1', kind: 'Service', metadata: ownedMetadata(cluster, shard, name), spec };
}
