import { ApiError } from '../../src/runtime/api-error.ts';
import { createCache } from '../../src/runtime/cache.ts';
import type { Change, Informer } from '../../src/runtime/informer.ts';
import type { KubeClient } from '../../src/runtime/kube-client.ts';
import {
  type KubernetesObject,
  keyOf,
  keyString,
  type ObjectKey,
  type ResourceType,
} from '../../src/runtime/kubernetes-object.ts';

/** An API server in memory, as far as a controller of our own kinds uses one: versions, conflicts, finalizers, generations. */
export interface MemoryApi {
  readonly client: KubeClient;
  /** Follows the objects of a type without delay. */
  informer<T extends KubernetesObject>(
    type: ResourceType,
    indexes: Readonly<Record<string, (object: T) => readonly string[]>>,
  ): Informer<T>;
  /** Keeps what changes from all who follow, until the answer is called. */
  holdBack(): () => void;
  get<T extends KubernetesObject>(type: ResourceType, key: ObjectKey): T;
  create<T extends KubernetesObject>(type: ResourceType, object: T): T;
  /** Merges into the spec, as a user would. */
  change(type: ResourceType, key: ObjectKey, spec: object): void;
  delete(type: ResourceType, key: ObjectKey): void;
}

type Status = Readonly<Record<string, unknown>> & {
  readonly conditions?: readonly { readonly type: string }[];
};

/** Server-side apply: fields and conditions that the manager no longer sends go, those of others stay. */
function merged(old: Status, sent: Status, before: Status): Status {
  const others = Object.entries(old).filter(([name]) => !(name in before) && !(name in sent));
  const types = [...(before.conditions ?? []), ...(sent.conditions ?? [])].map(({ type }) => type);
  const conditions = [
    ...(old.conditions ?? []).filter(({ type }) => !types.includes(type)),
    ...(sent.conditions ?? []),
  ];
  return { ...Object.fromEntries(others), ...sent, ...(conditions.length === 0 ? {} : { conditions }) };
}

/** Makes an empty one. */
export function memoryApi(): MemoryApi {
  const objects = new Map<string, Map<string, KubernetesObject>>();
  const listeners = new Map<string, ((change: Change<KubernetesObject>) => void)[]>();
  /** What each manager of a status has applied last. */
  const owned = new Map<string, Status>();
  let version = 0;
  /** Changes that nobody has heard of yet, while they are held back. */
  let unheard: (() => void)[] | undefined;

  const of = (type: ResourceType) => {
    const found = objects.get(type.plural) ?? new Map<string, KubernetesObject>();
    objects.set(type.plural, found);
    return found;
  };

  function refuse(type: ResourceType, status: number, reason: string): never {
    throw new ApiError({ method: 'PUT', path: type.plural }, status, { reason });
  }

  function store(type: ResourceType, object: KubernetesObject): KubernetesObject {
    const key = keyString(keyOf(object));
    const old = of(type).get(key);
    version += 1;
    const stored = structuredClone({
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(version) },
    });
    const isGone =
      stored.metadata.deletionTimestamp !== undefined && (stored.metadata.finalizers ?? []).length === 0;
    if (isGone) of(type).delete(key);
    else of(type).set(key, stored);
    const change = { old, current: isGone ? undefined : stored } as Change<KubernetesObject>;
    const deliver = () => {
      for (const listener of listeners.get(type.plural) ?? []) listener(change);
    };
    if (unheard === undefined) deliver();
    else unheard.push(deliver);
    return structuredClone(stored);
  }

  function current(type: ResourceType, key: ObjectKey): KubernetesObject {
    return structuredClone(of(type).get(keyString(key)) ?? refuse(type, 404, 'NotFound'));
  }

  /** A compare-and-swap of one part, as the API server does it. */
  function replace<T extends KubernetesObject>(type: ResourceType, object: T, part: 'spec' | 'status'): T {
    const old = current(type, keyOf(object));
    if (old.metadata.resourceVersion !== object.metadata.resourceVersion) refuse(type, 409, 'Conflict');
    if (JSON.stringify(old[part]) === JSON.stringify(object[part])) return old as T;
    const { generation = 1 } = old.metadata;
    const metadata = { ...old.metadata, generation: part === 'spec' ? generation + 1 : generation };
    return store(type, { ...old, metadata, [part]: object[part] }) as T;
  }

  const client = {
    get: async (type: ResourceType, key: ObjectKey) => {
      const found = of(type).get(keyString(key));
      return found === undefined ? undefined : structuredClone(found);
    },
    listAll: async (type: ResourceType, { namespace }: { namespace?: string }) => ({
      items: [...of(type).values()].filter(({ metadata }) => metadata.namespace === namespace),
    }),
    create: async <T extends KubernetesObject>(type: ResourceType, object: T) => api.create(type, object),
    update: async <T extends KubernetesObject>(type: ResourceType, object: T) =>
      replace(type, object, 'spec'),
    updateStatus: async <T extends KubernetesObject>(type: ResourceType, object: T) =>
      replace(type, object, 'status'),
    applyStatus: async <T extends KubernetesObject>(
      type: ResourceType,
      object: T,
      { fieldManager = '' }: { fieldManager?: string } = {},
    ) => {
      const old = current(type, keyOf(object));
      const { resourceVersion = old.metadata.resourceVersion } = object.metadata;
      if (resourceVersion !== old.metadata.resourceVersion) refuse(type, 409, 'Conflict');
      const owner = `${type.plural} ${keyString(keyOf(object))} ${fieldManager}`;
      const status = merged((old.status ?? {}) as Status, object.status as Status, owned.get(owner) ?? {});
      owned.set(owner, object.status as Status);
      return replace(type, { ...old, status }, 'status');
    },
    read: async (type: ResourceType, key: ObjectKey) => {
      const found = of(type).get(keyString(key));
      return found === undefined ? { state: 'absent' } : { state: 'present', value: structuredClone(found) };
    },
    patch: async (type: ResourceType, key: ObjectKey, patch: { metadata: object }) => {
      const old = current(type, key);
      return store(type, { ...old, metadata: { ...old.metadata, ...patch.metadata } });
    },
    delete: async (type: ResourceType, key: ObjectKey, { resourceVersion }: { resourceVersion?: string }) => {
      const { metadata } = current(type, key);
      if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion)
        refuse(type, 409, 'Conflict');
      api.delete(type, key);
    },
  };

  const api: MemoryApi = {
    client: client as unknown as KubeClient,
    informer<T extends KubernetesObject>(
      type: ResourceType,
      indexes: Readonly<Record<string, (object: T) => readonly string[]>>,
    ): Informer<T> {
      const cache = createCache<T>(indexes);
      for (const object of of(type).values()) cache.set(structuredClone(object) as T);
      const subscribers = new Set<(change: Change<T>) => void>();
      listeners.set(type.plural, [
        ...(listeners.get(type.plural) ?? []),
        (change) => {
          if (change.current !== undefined) cache.set(structuredClone(change.current) as T);
          else if (change.old !== undefined) cache.remove(keyOf(change.old));
          cache.advance('', String(version));
          for (const subscriber of subscribers) subscriber(change as unknown as Change<T>);
        },
      ]);
      return {
        type,
        cache,
        hasSynced: () => true,
        waitForSync: async () => true,
        onChange(subscriber: (change: Change<T>) => void) {
          subscribers.add(subscriber);
          for (const object of cache.list()) {
            subscriber({ kind: 'added', old: undefined, current: object } as unknown as Change<T>);
          }
          return () => void subscribers.delete(subscriber);
        },
      } as unknown as Informer<T>;
    },
    holdBack() {
      unheard ??= [];
      return () => {
        const changes = unheard ?? [];
        unheard = undefined;
        for (const deliver of changes) deliver();
      };
    },
    get: <T extends KubernetesObject>(type: ResourceType, key: ObjectKey) => current(type, key) as T,
    create<T extends KubernetesObject>(type: ResourceType, object: T) {
      if (of(type).has(keyString(keyOf(object)))) refuse(type, 409, 'AlreadyExists');
      const metadata = { ...object.metadata, uid: object.metadata.uid ?? crypto.randomUUID(), generation: 1 };
      return store(type, { ...object, metadata }) as T;
    },
    change(type, key, spec) {
      const old = current(type, key);
      replace(type, { ...old, spec: { ...(old.spec as object), ...spec } }, 'spec');
    },
    delete(type, key) {
      const old = current(type, key);
      store(type, { ...old, metadata: { ...old.metadata, deletionTimestamp: new Date().toISOString() } });
    },
  };
  return api;
}
