import type { KubeClient } from './kube-client.ts';
import type { KubernetesObject, ResourceType } from './kubernetes-object.ts';

/** How to write a status. */
export interface StatusWrite {
  readonly signal?: AbortSignal | undefined;
  /** `apply` (default) owns the fields that it sends; `update` replaces the whole status as a compare-and-swap. */
  readonly mode?: 'apply' | 'update' | undefined;
  readonly fieldManager?: string | undefined;
}

/** Writes `status` if it differs from what `object` has; returns the object as it is then. */
export type WriteStatus = <T extends KubernetesObject>(
  client: KubeClient,
  type: ResourceType,
  object: T,
  status: NonNullable<T['status']>,
  options?: StatusWrite,
) => Promise<{ changed: boolean; object: T }>;
