import { apiVersion } from '../../src/api/v1alpha1/common.ts';
import { apply, kubectl } from './kubectl.ts';

/** What a HorizontalPodAutoscaler scales, and by what. */
export interface PodAutoscaling {
  readonly kind: 'ReadReplicaSet' | 'PoolerConfig';
  readonly namespace: string;
  readonly name: string;
  readonly maxReplicas: number;
  /** Percent of the CPU request that pods shall use. */
  readonly cpuPercent: number;
  /** The one container of the pods that counts; all, if it is not given. */
  readonly container?: string;
}

/** Applies a stock HorizontalPodAutoscaler, which goes one step at a time and waits for nothing; answers how to take it away. */
export async function applyPodAutoscaler(autoscaling: PodAutoscaling): Promise<() => Promise<void>> {
  const { kind, namespace, name, maxReplicas, cpuPercent, container } = autoscaling;
  const policies = [{ type: 'Pods', value: 1, periodSeconds: 15 }];
  const behavior = { stabilizationWindowSeconds: 0, policies };
  const cpu = { name: 'cpu', target: { type: 'Utilization', averageUtilization: cpuPercent } };
  await apply({
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: { name, namespace },
    spec: {
      scaleTargetRef: { apiVersion, kind, name },
      minReplicas: 1,
      maxReplicas,
      metrics: [
        container === undefined
          ? { type: 'Resource', resource: cpu }
          : { type: 'ContainerResource', containerResource: { ...cpu, container } },
      ],
      behavior: { scaleUp: behavior, scaleDown: behavior },
    },
  });
  return async () => void (await kubectl(['delete', 'hpa', name, '-n', namespace]));
}
