import { isDeepStrictEqual } from 'node:util';
import type { KubeClient } from './kube-client.ts';
import type { KubernetesObject, ResourceType } from './kubernetes-object.ts';

/** How to write a status. */
export interface StatusWrite {
  readonly signal?: AbortSignal | undefined;
  /** `apply` (default) owns the fields that it sends; `update` replaces the whole status as a compare-and-swap. */
  readonly mode?: 'apply' | 'update' | undefined;
  readonly fieldManager?: string | undefined;
  /** Fails with a Conflict when the object is not any more as it was read. */
  readonly ifUnchanged?: boolean | undefined;
}

/** What became of a status: `object` is as the server has it now. */
export interface StatusWritten<T> {
  readonly changed: boolean;
  readonly object: T;
}

/** Writes `status` if it differs from the one that `object` has; a status that says nothing new costs no request. */
export async function writeStatus<T extends KubernetesObject>(
  client: Pick<KubeClient, 'applyStatus' | 'updateStatus'>,
  type: ResourceType,
  object: T,
  status: NonNullable<T['status']>,
  options: StatusWrite = {},
): Promise<StatusWritten<T>> {
  const wanted: unknown = JSON.parse(JSON.stringify(status));
  if (isDeepStrictEqual(object.status, wanted)) return { changed: false, object };
  const { signal, fieldManager } = options;
  if (options.mode === 'update') {
    const replaced = { ...object, status: wanted };
    return { changed: true, object: await client.updateStatus(type, replaced, { signal, fieldManager }) };
  }
  const { apiVersion, kind, metadata } = object;
  const { name, namespace, uid, resourceVersion } = metadata;
  // With the uid the status of an object that is gone cannot end up on a namesake made since.
  const applied: KubernetesObject = {
    apiVersion,
    kind,
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(uid === undefined ? {} : { uid }),
      ...(options.ifUnchanged === true && resourceVersion !== undefined ? { resourceVersion } : {}),
    },
    status: wanted,
  };
  const answer = await client.applyStatus(type, applied, { signal, fieldManager, force: true });
  return { changed: true, object: answer as T };
}
