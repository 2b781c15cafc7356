import type { V1PodSpec } from '@kubernetes/client-node';
import { durationMs } from '../../../api/v1alpha1/duration.ts';
import type { PoolerConfigSpec } from '../../../api/v1alpha1/pooler-config.ts';
import { imagePullSecrets } from '../../sharded-cluster/desired/image-pull-secrets.ts';
import { podSecurity } from '../../sharded-cluster/desired/pod-security.ts';
import { withoutUndefined } from '../../sharded-cluster/desired/resources.ts';
import type { PoolerConfig } from '../model.ts';
import { poolerSelector } from '../names.ts';

/**
 * Seconds for which an instance that goes still takes connections, until every node has heard of it: Kubernetes' controller of
 * EndpointSlices waits 1 s after a conflict before it tries again, then 2 s, and kube-proxy up to 1 s between two changes.
 */
export const farewellSeconds = 5;

/** How long clients get to leave before an instance ends. */
export function drainSeconds(pooler: PoolerConfig): number {
  return Math.ceil((durationMs(pooler.spec.drainTimeout) ?? 0) / 1000);
}

/** What the pods of both engines are made from, beside the PoolerConfig's own spec. */
export interface PodOptions {
  readonly image: string;
  /** Those of the PoolerConfig, or of its cluster. */
  readonly imagePullSecrets?: PoolerConfigSpec['imagePullSecrets'];
}

/** What the pods of both engines have in common: rights, spread over nodes and zones, and the time they get to end. */
export function poolerPod(
  pooler: PoolerConfig,
  options: PodOptions,
  graceSeconds: number,
): Omit<V1PodSpec, 'containers'> {
  const { placement } = pooler.spec;
  const labelSelector = { matchLabels: poolerSelector(pooler.metadata.name) };
  return {
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: graceSeconds,
    securityContext: podSecurity,
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
    ...(placement.tolerations.length > 0 ? { tolerations: placement.tolerations.map(withoutUndefined) } : {}),
    ...imagePullSecrets(options.imagePullSecrets),
  };
}
