import { describe, expect, it } from 'vitest';
import { ApiError } from './api-error.ts';
import { hold, letGo } from './finalizers.ts';
import type { KubeClient } from './kube-client.ts';
import type { KubernetesObject, ResourceType } from './kubernetes-object.ts';

const type: ResourceType = { group: 'g', version: 'v1', plural: 'things', kind: 'Thing', namespaced: true };
const ours = 'herdsman.dev/thing';
const signal = new AbortController().signal;

/** One object; `meanwhile` changes it between being read and being written, as often as there is something left to do. */
function serving(metadata: Partial<KubernetesObject['metadata']>, meanwhile: (() => void)[] = []) {
  const object: KubernetesObject = {
    apiVersion: 'g/v1',
    kind: 'Thing',
    metadata: { name: 'thing', namespace: 'n', uid: 'u', resourceVersion: '1', ...metadata },
  };
  const change = (finalizers: string[]) => {
    object.metadata.finalizers = finalizers;
    object.metadata.resourceVersion = String(Number(object.metadata.resourceVersion) + 1);
  };
  const client = {
    get: async () => structuredClone(object),
    patch: async (
      _: unknown,
      __: unknown,
      patch: { metadata: { finalizers: string[]; resourceVersion: string } },
    ) => {
      meanwhile.shift()?.();
      if (patch.metadata.resourceVersion !== object.metadata.resourceVersion)
        throw new ApiError({ method: 'PATCH', path: '/thing' }, 409, {
          reason: 'Conflict',
          message: 'changed',
        });
      change(patch.metadata.finalizers);
      return object;
    },
  } as unknown as Pick<KubeClient, 'get' | 'patch'>;
  return { client, object, change, finalizers: () => object.metadata.finalizers };
}

describe('a finalizer', () => {
  it('is added beside others, and taken away from among them', async () => {
    const { client, object, finalizers } = serving({ finalizers: ['a'] });
    await hold(client, type, object, ours, signal);
    expect(finalizers()).toEqual(['a', ours]);
    await hold(client, type, object, ours, signal);
    expect(finalizers()).toEqual(['a', ours]);
    await letGo(client, type, object, ours, signal);
    expect(finalizers()).toEqual(['a']);
  });

  it('takes nothing of what others add meanwhile', async () => {
    const meanwhile: (() => void)[] = [];
    const { client, object, change, finalizers } = serving({ finalizers: [ours] }, meanwhile);
    meanwhile.push(() => change([ours, 'late']));
    await letGo(client, type, structuredClone(object), ours, signal);
    expect(finalizers()).toEqual(['late']);
  });

  it('is not added to what goes already, nor to a namesake', async () => {
    const going = serving({ deletionTimestamp: '2026-01-01T00:00:00Z' });
    await hold(going.client, type, going.object, ours, signal);
    expect(going.finalizers()).toBeUndefined();
    const other = serving({});
    await hold(
      other.client,
      type,
      { ...other.object, metadata: { name: 'thing', uid: 'older' } },
      ours,
      signal,
    );
    expect(other.finalizers()).toBeUndefined();
  });

  it('is given up on when others do not leave the object alone', async () => {
    const meanwhile: (() => void)[] = [];
    const { client, object, change } = serving({}, meanwhile);
    for (let n = 0; n < 5; n += 1) meanwhile.push(() => change([`other-${n}`]));
    await expect(hold(client, type, structuredClone(object), ours, signal)).rejects.toThrow('changed');
  });
});
