import { expect, test } from 'vitest';
import type { KubeClient } from './kube-client.ts';
import type { KubernetesObject } from './kubernetes-object.ts';
import { type StatusWrite, writeStatus } from './status-writer.ts';

const type = { group: 'example.com', version: 'v1', plural: 'things', kind: 'Thing', namespaced: true };
const thing = {
  apiVersion: 'example.com/v1',
  kind: 'Thing',
  metadata: { name: 'one', namespace: 'shop', uid: 'uid', resourceVersion: '7' },
  status: { phase: 'Old' },
} satisfies KubernetesObject;

/** Objects that were sent when this status was written. */
async function sent(status: object, options?: StatusWrite): Promise<KubernetesObject[]> {
  const objects: KubernetesObject[] = [];
  const take = async (_: unknown, object: KubernetesObject) => {
    objects.push(object);
    return object;
  };
  const client = { applyStatus: take, updateStatus: take } as unknown as KubeClient;
  await writeStatus<KubernetesObject>(client, type, thing, status, options);
  return objects;
}

test('a status that says nothing new is not sent', async () => {
  expect(await sent({ phase: 'Old' })).toEqual([]);
});

test.each([
  ['whatever the object has become', {}, { name: 'one', namespace: 'shop', uid: 'uid' }],
  ['only while it is as it was read', { ifUnchanged: true }, thing.metadata],
])('a status is applied %s', async (_, options, metadata) => {
  const objects = await sent({ phase: 'New' }, options);
  expect(objects).toEqual([{ ...thing, metadata, status: { phase: 'New' } }]);
});
