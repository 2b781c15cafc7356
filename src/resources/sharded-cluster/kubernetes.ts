import type { KubernetesObject } from '../../runtime/kubernetes-object.ts';

/** The parts of `metav1.Condition`-like entries that pods and claims carry. */
export interface ObjectCondition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastTransitionTime?: string;
}

/** The parts of a container's status that a plan reads. */
export interface ContainerStatus {
  readonly name: string;
  readonly ready: boolean;
  readonly restartCount?: number;
  readonly state?: {
    readonly waiting?: { readonly reason?: string; readonly message?: string };
    readonly running?: { readonly startedAt?: string };
    readonly terminated?: { readonly reason?: string; readonly exitCode?: number };
  };
}

/** The parts of a Pod that a plan reads. */
export interface Pod extends KubernetesObject {
  spec?: { nodeName?: string };
  status?: {
    phase?: string;
    podIP?: string;
    conditions?: readonly ObjectCondition[];
    containerStatuses?: readonly ContainerStatus[];
  };
}

/** The parts of a StatefulSet that a plan reads. */
export interface StatefulSet extends KubernetesObject {
  spec?: {
    replicas?: number;
    volumeClaimTemplates?: readonly { readonly spec?: PersistentVolumeClaim['spec'] }[];
  };
  status?: {
    observedGeneration?: number;
    currentRevision?: string;
    updateRevision?: string;
    replicas?: number;
  };
}

/** The parts of a PersistentVolumeClaim that a plan reads. */
export interface PersistentVolumeClaim extends KubernetesObject {
  spec?: {
    storageClassName?: string;
    volumeName?: string;
    resources?: { readonly requests?: { readonly storage?: string } };
  };
  status?: {
    phase?: string;
    capacity?: { readonly storage?: string };
    conditions?: readonly ObjectCondition[];
  };
}

/** Whether Kubernetes calls the pod ready. */
export function isPodReady(pod: Pod): boolean {
  return (
    pod.metadata.deletionTimestamp === undefined &&
    pod.status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') ===
      true
  );
}

/** Why a pod is not running, in Kubernetes' words and with what helps; `undefined` while it is merely starting. */
export function podProblem(pod: Pod): { reason: string; message: string } | undefined {
  const problem = problemOf(pod);
  if (problem === undefined) return undefined;
  const { reason, message } = problem;
  const help = remedies.find(({ of }) => of.test(`${reason}: ${message}`))?.help;
  return { reason, message: help === undefined ? message : `${message.replace(/\.$/, '')}: ${help}` };
}

/** What helps, by what Kubernetes says. */
const remedies: readonly { readonly of: RegExp; readonly help: string }[] = [
  {
    of: /^(ErrImagePull|ImagePullBackOff|InvalidImageName|ErrImageNeverPull)/,
    help: 'correct the image in the spec, or see to it that the nodes may pull it',
  },
  { of: /insufficient/i, help: 'lower spec.resources.requests, or add nodes' },
];

function problemOf(pod: Pod): { reason: string; message: string } | undefined {
  const unscheduled = pod.status?.conditions?.find(
    (condition) => condition.type === 'PodScheduled' && condition.status === 'False',
  );
  if (unscheduled !== undefined) {
    return {
      reason: unscheduled.reason ?? 'Unschedulable',
      message: unscheduled.message ?? 'no node has room',
    };
  }
  for (const container of pod.status?.containerStatuses ?? []) {
    const waiting = container.state?.waiting;
    if (waiting?.reason === undefined || harmlessWaits.has(waiting.reason)) continue;
    return {
      reason: waiting.reason,
      message: waiting.message ?? `container ${container.name}: ${waiting.reason}`,
    };
  }
  return undefined;
}

/** Reasons with which every container starts. */
const harmlessWaits: ReadonlySet<string> = new Set(['ContainerCreating', 'PodInitializing']);
