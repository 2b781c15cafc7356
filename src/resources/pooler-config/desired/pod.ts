import type { V1Container, V1PodSpec, V1SecurityContext } from '@kubernetes/client-node';
import { durationMs } from '../../../api/v1alpha1/duration.ts';
import type { PoolerConfig } from '../model.ts';
import { poolerSelector } from '../names.ts';

/** Ids of the image's `postgres` user and group. */
const userId = 100;
const groupId = 102;

/** Seconds for which an instance that goes still takes connections, until every node has heard of it. */
export const farewellSeconds = 3;

/** How long clients get to leave before an instance ends. */
export function drainSeconds(pooler: PoolerConfig): number {
  return Math.ceil((durationMs(pooler.spec.drainTimeout) ?? 0) / 1000);
}

/** What the pods of both engines have in common: rights, spread over nodes and zones, and the time they get to end. */
export function poolerPod(pooler: PoolerConfig, graceSeconds: number): Omit<V1PodSpec, 'containers'> {
  const { placement } = pooler.spec;
  const labelSelector = { matchLabels: poolerSelector(pooler.metadata.name) };
  return {
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: graceSeconds,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: userId,
      runAsGroup: groupId,
      fsGroup: groupId,
      fsGroupChangePolicy: 'OnRootMismatch',
      seccompProfile: { type: 'RuntimeDefault' },
    },
    affinity: {
      podAntiAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [
          { weight: 100, podAffinityTerm: { topologyKey: 'kubernetes.io/hostname', labelSelector } },
        ],
      },
    },
    topologySpreadConstraints: [
      {
        maxSkew: 1,
        topologyKey: 'topology.kubernetes.io/zone',
        whenUnsatisfiable: 'ScheduleAnyway',
        labelSelector,
      },
    ],
    ...(Object.keys(placement.nodeSelector).length > 0 ? { nodeSelector: placement.nodeSelector } : {}),
  };
}

/** What no container of an instance may do. */
export const restricted: V1SecurityContext = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  readOnlyRootFilesystem: true,
};

/** What the pooler's own container is given, as far as the spec says. */
export function definedResources({ spec }: PoolerConfig): NonNullable<V1Container['resources']> {
  // JSON drops what is undefined.
  return JSON.parse(JSON.stringify(spec.resources));
}
