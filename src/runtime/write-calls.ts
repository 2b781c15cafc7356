import type { ApiCalls } from './api-calls.ts';
import { isAbsence } from './api-error.ts';
import type { ApplyOptions, KubeClient, PatchOptions, WriteOptions } from './kube-client.ts';
import {
  type KubernetesObject,
  keyOf,
  type ObjectKey,
  type ResourceType,
  typeName,
} from './kubernetes-object.ts';
import { collectionPath, objectPath, queryString } from './resource-path.ts';

type WriteMethod = 'create' | 'update' | 'updateStatus' | 'apply' | 'applyStatus' | 'patch' | 'delete';

const patchContentTypes = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  strategic: 'application/strategic-merge-patch+json',
} as const;

interface Target {
  readonly verb: string;
  readonly method: string;
  readonly type: ResourceType;
  /** Absent when the collection is written to. */
  readonly key?: ObjectKey;
  readonly namespace?: string | undefined;
  readonly subresource?: string | undefined;
  readonly contentType?: string;
}

/** The calls of a client that change something. */
export function writeCalls(calls: ApiCalls, fieldManager: string): Pick<KubeClient, WriteMethod> {
  async function write(target: Target, body: unknown, options: ApplyOptions = {}): Promise<unknown> {
    const { type, subresource, key, verb, method, contentType } = target;
    const query = queryString({
      fieldManager: options.fieldManager ?? fieldManager,
      dryRun: options.dryRun === true ? 'All' : undefined,
      force: verb === 'apply' ? options.force === true : undefined,
    });
    const path =
      key === undefined ? collectionPath(type, target.namespace) : objectPath(type, key, subresource);
    const resource = subresource === undefined ? typeName(type) : `${typeName(type)}/${subresource}`;
    const { signal, timeoutMs } = options;
    return await calls.call({
      verb,
      resource,
      method,
      path: path + query,
      body,
      contentType,
      signal,
      timeoutMs,
    });
  }

  async function replace<T extends KubernetesObject>(
    type: ResourceType,
    object: T,
    options?: WriteOptions,
    subresource?: string,
  ): Promise<T> {
    const key = keyOf(object);
    return (await write({ verb: 'update', method: 'PUT', type, key, subresource }, object, options)) as T;
  }

  async function apply<T extends KubernetesObject>(
    type: ResourceType,
    object: T,
    options: ApplyOptions = {},
  ): Promise<T> {
    const contentType = 'application/apply-patch+yaml';
    const key = keyOf(object);
    const { subresource } = options;
    return (await write(
      { verb: 'apply', method: 'PATCH', type, key, subresource, contentType },
      object,
      options,
    )) as T;
  }

  return {
    apply,
    applyStatus: (type, object, options) => apply(type, object, { ...options, subresource: 'status' }),
    update: (type, object, options) => replace(type, object, options),
    updateStatus: (type, object, options) => replace(type, object, options, 'status'),

    async create<T extends KubernetesObject>(type: ResourceType, object: T, options?: WriteOptions) {
      const { namespace } = object.metadata;
      return (await write({ verb: 'create', method: 'POST', type, namespace }, object, options)) as T;
    },

    async patch<T>(type: ResourceType, key: ObjectKey, patch: unknown, options: PatchOptions) {
      const contentType = patchContentTypes[options.type];
      const { subresource } = options;
      return (await write(
        { verb: 'patch', method: 'PATCH', type, key, subresource, contentType },
        patch,
        options,
      )) as T;
    },

    async delete(type, key, options = {}) {
      const { uid, resourceVersion, propagationPolicy, gracePeriodSeconds, dryRun, signal, timeoutMs } =
        options;
      const preconditions =
        uid === undefined && resourceVersion === undefined ? undefined : { uid, resourceVersion };
      const body = {
        apiVersion: 'v1',
        kind: 'DeleteOptions',
        preconditions,
        propagationPolicy,
        gracePeriodSeconds,
        dryRun: dryRun === true ? ['All'] : undefined,
      };
      const path = objectPath(type, key);
      const resource = typeName(type);
      try {
        const answer = await calls.call({
          verb: 'delete',
          resource,
          method: 'DELETE',
          path,
          body,
          signal,
          timeoutMs,
        });
        return isBeingDeleted(answer) ? 'deleting' : 'gone';
      } catch (error) {
        if (isAbsence(error, key.name)) return 'absent';
        throw error;
      }
    },
  };
}

function isBeingDeleted(answer: unknown): boolean {
  return (answer as Partial<KubernetesObject>).metadata?.deletionTimestamp !== undefined;
}
