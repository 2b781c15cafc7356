import type { V1ServicePort } from '@kubernetes/client-node';
import type { Service } from '../../sharded-cluster/desired/services.ts';
import { memberSelector, patroniPort, postgresPort, roleLabel } from '../../sharded-cluster/names.ts';
import type { ReadReplicaSet } from '../model.ts';
import { readService as readServiceName, replicaSelector, replicasName, rotationLabel } from '../names.ts';
import { ownedMetadata } from './owned-object.ts';

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

/** Host names for the members, in rotation or not. */
export function headlessService(set: ReadReplicaSet, shard: string): Service {
  const { name } = set.metadata;
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: ownedMetadata(set, shard, replicasName(name, shard)),
    spec: {
      clusterIP: 'None',
      publishNotReadyAddresses: true,
      selector: replicaSelector(name, shard),
      ports: [postgres, patroni],
    },
  };
}

/** Where the shard is read: members in rotation, or its primary while that stands in for them. */
export function readService(set: ReadReplicaSet, shard: string, byPrimary: boolean): Service {
  const { name } = set.metadata;
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: ownedMetadata(set, shard, readServiceName(name, shard)),
    spec: {
      type: 'ClusterIP',
      selector: byPrimary
        ? { ...memberSelector(set.spec.cluster, shard), [roleLabel]: 'primary' }
        : { ...replicaSelector(name, shard), [rotationLabel]: 'in' },
      ports: [postgres],
      ...(set.spec.distribution === 'nearest' ? { trafficDistribution: 'PreferClose' } : {}),
    },
  };
}

/** Whether a Service, as it is, leads to the primary. */
export function leadsToPrimary(service: Service | undefined): boolean {
  return service?.spec.selector?.[roleLabel] === 'primary';
}
