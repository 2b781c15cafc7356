import type { ApiCalls } from './api-calls.ts';
import { ApiError, isAbsence, isExpired, type StatusBody, TransportError } from './api-error.ts';
import type {
  CallOptions,
  KubeClient,
  ListOptions,
  ListPage,
  WatchEvent,
  WatchOptions,
} from './kube-client.ts';
import {
  apiVersionOf,
  type KubernetesObject,
  type ObjectKey,
  type ResourceType,
  typeName,
} from './kubernetes-object.ts';
import { readingOf } from './reading.ts';
import { collectionPath, objectPath, queryString, selectionParameters } from './resource-path.ts';

const pageSize = 500;

/** The calls of a client that change nothing. */
export function readCalls(calls: ApiCalls): Pick<KubeClient, 'get' | 'read' | 'list' | 'listAll' | 'watch'> {
  async function get<T>(
    type: ResourceType,
    key: ObjectKey,
    options: CallOptions = {},
  ): Promise<T | undefined> {
    const path = objectPath(type, key);
    try {
      return (await calls.call({
        verb: 'get',
        resource: typeName(type),
        method: 'GET',
        path,
        ...options,
      })) as T;
    } catch (error) {
      if (isAbsence(error, key.name)) return undefined;
      throw error;
    }
  }

  async function list<T extends KubernetesObject>(
    type: ResourceType,
    options: ListOptions = {},
  ): Promise<ListPage<T>> {
    const limit = options.limit ?? pageSize;
    const query = queryString({
      ...selectionParameters(options),
      limit: limit === 0 ? undefined : limit,
      continue: options.continueToken,
    });
    const path = collectionPath(type, options.namespace) + query;
    const { signal, timeoutMs } = options;
    const body = await calls.call({
      verb: 'list',
      resource: typeName(type),
      method: 'GET',
      path,
      signal,
      timeoutMs,
    });
    return pageOf<T>(type, path, body);
  }

  return {
    get,
    list,
    read: (type, key, options) => readingOf(() => get(type, key, options)),

    async listAll<T extends KubernetesObject>(type: ResourceType, options: ListOptions = {}) {
      const items: T[] = [];
      let continueToken: string | undefined;
      for (;;) {
        try {
          const page = await list<T>(type, { ...options, continueToken });
          for (const item of page.items) items.push(item);
          if (page.continueToken === undefined) return { ...page, items };
          continueToken = page.continueToken;
        } catch (error) {
          if (continueToken === undefined || !isExpired(error)) throw error;
          // Etcd was compacted between the pages: only one answer without pages is sure to be of one moment.
          return await list<T>(type, { ...options, continueToken: undefined, limit: 0 });
        }
      }
    },

    async *watch<T extends KubernetesObject>(type: ResourceType, options: WatchOptions) {
      const query = queryString({
        ...selectionParameters(options),
        watch: true,
        allowWatchBookmarks: true,
        resourceVersion: options.resourceVersion,
        timeoutSeconds: options.timeoutSeconds,
      });
      const path = collectionPath(type, options.namespace) + query;
      const { signal } = options;
      const silence = { limitMs: options.silenceMs ?? (options.timeoutSeconds + 15) * 1_000 };
      const call = { verb: 'watch', resource: typeName(type), method: 'GET', path, signal };
      for await (const line of calls.stream(call, silence)) {
        const event = watchEventOf<T>(path, line);
        if (event.type === 'bookmark') silence.limitMs = options.silenceMsAfterBookmark ?? silence.limitMs;
        yield event;
      }
    },
  };
}

function pageOf<T extends KubernetesObject>(type: ResourceType, path: string, body: unknown): ListPage<T> {
  const { items, metadata } = body as {
    items?: T[] | null;
    metadata?: { resourceVersion?: string; continue?: string };
  };
  if (metadata?.resourceVersion === undefined) {
    throw new TransportError({ method: 'GET', path }, 'the answer is not a list of objects');
  }
  // Items of built-in lists come without these two.
  const typed = (items ?? []).map((item) => ({ ...item, apiVersion: apiVersionOf(type), kind: type.kind }));
  const token = metadata.continue;
  return {
    items: typed,
    resourceVersion: metadata.resourceVersion,
    continueToken: token === '' ? undefined : token,
  };
}

function watchEventOf<T extends KubernetesObject>(path: string, line: unknown): WatchEvent<T> {
  const { type, object } = line as { type?: string; object?: T };
  if (type === 'ERROR') {
    const status = (object ?? {}) as StatusBody;
    throw new ApiError({ method: 'GET', path }, status.code ?? 500, status);
  }
  const resourceVersion = object?.metadata?.resourceVersion;
  if (object === undefined || resourceVersion === undefined) {
    throw new TransportError({ method: 'GET', path }, 'a line of the watch is not a watch event');
  }
  if (type === 'ADDED') return { type: 'added', object };
  if (type === 'MODIFIED') return { type: 'modified', object };
  if (type === 'DELETED') return { type: 'deleted', object };
  if (type === 'BOOKMARK') return { type: 'bookmark', resourceVersion };
  throw new TransportError({ method: 'GET', path }, 'a line of the watch has a type that is not known');
}
